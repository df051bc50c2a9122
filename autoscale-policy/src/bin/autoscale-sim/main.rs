//! Replays load under several policies and compares them.
//!
//! `autoscale-sim compare --load steps --seed 1 --days 7 --out plots`

mod args;
mod table;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use autoscale_policy::sim::{Frontier, Generator, Load, Plot, Run, World};
use autoscale_policy::{
    Metric, Policy, Predictive, ScalingPolicy, StepScaling, Target, Threshold,
};
use clap::Parser;

use crate::args::{Args, Command, Half, Source};

fn main() -> ExitCode {
    let mut stdout = io::stdout().lock();
    let done = match Args::parse().command {
        Command::Compare { source, policies, out, hours, from } => {
            compare(&mut stdout, &source, policies.as_deref(), out.as_deref(), hours, from)
        }
        Command::Generate { generator, seed, days } => {
            let text = generator.load(seed, days).to_csv();
            stdout.write_all(text.as_bytes()).map_err(Failure::from)
        }
    };
    match done {
        // A reader that has seen enough is no failure.
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Because(error)) => {
            eprintln!("autoscale-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Closed,
    Because(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Because(format!("the output could not be written: {error}"))
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}

/// The load and its name.
fn load(source: &Source) -> Result<(Load, String), String> {
    let (load, name) = match source.load.parse::<Generator>() {
        Ok(generator) => {
            let Source { seed, days, .. } = source;
            let name = format!("{}, seed {seed}, {days} days", generator.name());
            (generator.load(*seed, *days), name)
        }
        Err(unknown) => {
            let path = Path::new(&source.load);
            let text = fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}; and {unknown}", path.display()))?;
            let load = Load::from_csv(&text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (load, name)
        }
    };
    Ok(match source.half {
        Half::All => (load, name),
        Half::First => (load.first_half(), format!("{name}, first half")),
        Half::Second => (load.second_half(), format!("{name}, second half")),
    })
}

fn world(source: &Source, load: &Load) -> World {
    let world = World::default();
    World {
        tick: load.step.min(world.tick),
        warm_up: source.warm_up.into(),
        peak_instances: source.peak_instances,
        peak: source.peak,
        ..world
    }
}

/// Those that are compared where no file says: the presets, with the world's figures.
fn presets(world: &World) -> Vec<(String, Policy)> {
    let World { min, max, warm_up, slots, .. } = *world;
    let in_flight = Target::PodsAverage(slots * 0.7);
    let named = |name: &str, policy| (name.to_owned(), policy);
    vec![
        named("threshold", Threshold { min, max, warm_up, ..Threshold::default() }.into()),
        named(
            "step-scaling",
            Policy::StepScaling(StepScaling { min, max, warm_up, ..StepScaling::default() }),
        ),
        named("hpa-cpu", world.hpa([Metric::cpu(70)])),
        named("hpa-in-flight", world.hpa([Metric::new("in-flight", in_flight)])),
        named("predictive", predictive(world, None)),
    ]
}

fn predictive(world: &World, confidence: Option<f64>) -> Policy {
    let World { min, max, warm_up, slots, tick, .. } = *world;
    let preset = Predictive::in_flight(slots);
    let confidence = confidence.unwrap_or(preset.confidence);
    Predictive { min, max, warm_up, confidence, every: tick, ..preset }.into()
}

/// A table of policies by their names.
fn from_file(path: &Path) -> Result<Vec<(String, Policy)>, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let table: std::collections::BTreeMap<String, Policy> =
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if table.is_empty() {
        return Err(format!("{}: there is no [name] with a policy in it", path.display()));
    }
    for (name, policy) in &table {
        policy.check().map_err(|error| format!("{}: [{name}] {error}", path.display()))?;
        for warning in policy.warnings() {
            eprintln!("[{name}] {warning}");
        }
    }
    Ok(table.into_iter().collect())
}

/// Deviations to be ready for.
const CONFIDENCES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0];

fn compare(
    to: &mut impl Write,
    source: &Source,
    policies: Option<&Path>,
    out: Option<&Path>,
    hours: f64,
    from: Option<f64>,
) -> Result<(), Failure> {
    if !(hours > 0.0 && hours.is_finite() && from.is_none_or(|from| from >= 0.0)) {
        let from = from.unwrap_or_default();
        return Err(format!("{hours} hours from hour {from} on cannot be drawn").into());
    }
    let (load, name) = load(source)?;
    let world = world(source, &load);
    let policies = policies.map_or_else(|| Ok(presets(&world)), from_file)?;
    let text = |error: autoscale_policy::ConfigError| error.to_string();
    let mut runs: Vec<(&str, Run)> = Vec::new();
    for (name, policy) in &policies {
        runs.push((name, world.run(&load, policy).map_err(text)?));
    }
    let cpu = Frontier::hpa_cpu(&world, &load).map_err(text)?;
    let in_flight = Frontier::hpa_in_flight(&world, &load).map_err(text)?;
    let ours = Frontier::of(&world, &load, &CONFIDENCES, |confidence| {
        predictive(&world, Some(confidence))
    })
    .map_err(text)?;
    writeln!(to, "{name}\n")?;
    table::scores(to, &runs, &cpu, &in_flight)?;
    table::frontier(to, "HPA on CPU, by target in %", &cpu, None)?;
    table::frontier(to, "HPA on requests in flight, by target in %", &in_flight, None)?;
    table::frontier(
        to,
        "predictive, by standard deviations to be ready for",
        &ours,
        Some((&cpu, &in_flight)),
    )?;
    let Some(out) = out else { return Ok(()) };
    let panels: Vec<(&str, &Run)> = runs.iter().map(|(name, run)| (*name, run)).collect();
    let from = from.unwrap_or_else(|| load.busiest_hour());
    let hours = hours.min(load.length().as_secs_f64() / 3600.0);
    let plot = Plot::runs(&name, world.tick, &panels, from, hours);
    write(to, out, "decisions", &plot)?;
    let points: Vec<_> = runs.iter().map(|(name, run)| (*name, run.score)).collect();
    let lines = [("HPA on CPU", &cpu), ("HPA on in-flight", &in_flight), ("predictive", &ours)];
    write(to, out, "frontier", &Plot::frontiers(&name, &lines, &points))
}

fn write(to: &mut impl Write, folder: &Path, name: &str, plot: &Plot) -> Result<(), Failure> {
    let png = plot.to_png().map_err(|error| error.to_string())?;
    let mut put = |end: &str, bytes: &[u8]| {
        let path = folder.join(format!("{name}.{end}"));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(to, "{}", path.display())?;
        Ok::<(), Failure>(())
    };
    put("svg", plot.to_svg().as_bytes())?;
    put("png", &png)
}
