use std::io::{self, Write};

use autoscale_policy::sim::{Frontier, Run};

/// What each policy did, and how it stands to the HPAs at its own cost.
pub(crate) fn scores(
    out: &mut impl Write,
    runs: &[(&str, Run)],
    cpu: &Frontier,
    in_flight: &Frontier,
) -> io::Result<()> {
    writeln!(
        out,
        "{:<16} {:>7} {:>6} {:>8} {:>6} {:>6} {:>6} {:>6} {:>6} {:>13} {:>13}",
        "",
        "slow %",
        "cost",
        "changes",
        "thU %",
        "thO %",
        "tauU %",
        "tauO %",
        "ups %",
        "to HPA CPU",
        "to HPA infl."
    )?;
    for (name, run) in runs {
        let score = &run.score;
        writeln!(
            out,
            "{name:<16} {:>7.2} {:>6.2} {:>8} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>13} {:>13}",
            score.violation * 100.0,
            score.cost,
            score.actions,
            score.under,
            score.over,
            score.under_time,
            score.over_time,
            score.instability,
            cpu.standing(score),
            in_flight.standing(score)
        )?;
    }
    writeln!(
        out,
        "\nslow: requests that met instances above 90 % or a queue of 0.5 s. cost: of the least\n\
         that would do. thU, thO, tauU, tauO, ups: SPEC RG's elasticity. to HPA: slow requests\n\
         beside the HPA's frontier at the same cost; in points where both are below 0.5 %."
    )
}

/// A frontier, and how its points stand to two others.
pub(crate) fn frontier(
    out: &mut impl Write,
    name: &str,
    frontier: &Frontier,
    to: Option<(&Frontier, &Frontier)>,
) -> io::Result<()> {
    writeln!(out, "\n{name}")?;
    for point in &frontier.points {
        let score = &point.score;
        write!(
            out,
            "{:>7.1} {:>7.2} % {:>6.2} {:>7}",
            point.setting,
            score.violation * 100.0,
            score.cost,
            score.actions
        )?;
        if let Some((cpu, in_flight)) = to {
            write!(out, " {:>13} {:>13}", cpu.standing(score), in_flight.standing(score))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
