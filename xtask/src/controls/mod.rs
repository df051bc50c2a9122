//! Takes each protection out, one at a time, and shows that a test notices.

mod autoscale_policy;
mod cache_aside;
mod compiler;
mod front;
mod jwt_refresh;
mod rounds;
mod rw_split;
mod shard_router;
mod storefront;
mod test_bed;

use std::fmt;

use testbed::locate::Need;

use self::rounds::{Protection, endings};
use crate::command::runtime;
use crate::servers;

/// One protection.
struct Control {
    krate: &'static str,
    /// The value of `--cfg broken` that takes it out.
    broken: &'static str,
    protection: &'static str,
    test: Test,
}

/// The test that must fail.
struct Test {
    package: &'static str,
    /// What cargo is to run of it: `["--test", "overlap"]`.
    target: [&'static str; 2],
    name: &'static str,
}

impl Test {
    /// One in `autoscale-policy/tests`.
    const fn autoscale_policy(file: &'static str, name: &'static str) -> Self {
        Self { package: "autoscale-policy", target: ["--test", file], name }
    }

    /// One in `cache-aside/tests`.
    const fn cache_aside(file: &'static str, name: &'static str) -> Self {
        Self { package: "cache-aside", target: ["--test", file], name }
    }

    /// One in `jwt-refresh/tests`.
    const fn jwt_refresh(file: &'static str, name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--test", file], name }
    }

    /// One in `jwt-refresh/src`.
    const fn in_jwt_refresh(name: &'static str) -> Self {
        Self { package: "jwt-refresh", target: ["--lib", name], name }
    }

    /// One in `examples/front/src`.
    const fn in_front(name: &'static str) -> Self {
        Self { package: "front", target: ["--bin", "front"], name }
    }

    /// One in `examples/storefront/src`.
    const fn in_storefront(name: &'static str) -> Self {
        Self { package: "storefront", target: ["--bin", "storefront"], name }
    }

    /// One in `shard-router/tests`.
    const fn shard_router(file: &'static str, name: &'static str) -> Self {
        Self { package: "shard-router", target: ["--test", file], name }
    }

    /// One over real servers.
    const fn live(file: &'static str, name: &'static str) -> Self {
        Self { package: "live", target: ["--test", file], name }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, target: [_, target], name } = self;
        if package == target || target == name {
            write!(f, "{package}::{name}")
        } else {
            write!(f, "{package}/{target}::{name}")
        }
    }
}

const CONTROLS: &[&[Control]] = &[
    autoscale_policy::CONTROLS,
    cache_aside::CONTROLS,
    front::CONTROLS,
    jwt_refresh::CONTROLS,
    rw_split::CONTROLS,
    shard_router::CONTROLS,
    storefront::CONTROLS,
    test_bed::CONTROLS,
];

fn all() -> impl Iterator<Item = &'static Control> {
    CONTROLS.iter().copied().flatten()
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.krate, self.protection, self.test)
    }
}

/// How one test ended, without its protection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed,
    Hung,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "PASSES: the protection is not tested",
            Self::Failed => "fails",
            Self::Hung => "hangs",
        })
    }
}

/// Runs the controls of `only`, or of all crates; of these, the one that takes `broken` out,
/// or all. With its protection in, a test must pass, or its failure shows nothing.
pub(crate) fn run(only: Option<&str>, broken: Option<&str>) -> Result<(), String> {
    let mut chosen = chosen(only)?;
    chosen.retain(|control| broken.is_none_or(|name| name == control.broken));
    if chosen.is_empty() {
        return Err(format!("no control takes out `{}`", broken.unwrap_or_default()));
    }
    runtime()?.block_on(async {
        let whole = endings(&chosen, Protection::In, |_, _| ()).await?;
        let bad: Vec<_> =
            whole.iter().filter(|(_, ending)| *ending != Ending::Passed).collect();
        for (control, _) in &bad {
            println!("{control} ... FAILS WITH THE PROTECTION IN");
        }
        let broken = break_each(&chosen).await?;
        verdict(bad.len() + broken)
    })
}

/// Runs all controls, where every test has just passed.
pub(crate) fn run_after_all_tests() -> Result<(), String> {
    let chosen = chosen(None)?;
    runtime()?.block_on(async { verdict(break_each(&chosen).await?) })
}

fn chosen(only: Option<&str>) -> Result<Vec<&'static Control>, String> {
    let chosen: Vec<_> =
        all().filter(|control| only.is_none_or(|name| name == control.krate)).collect();
    if chosen.is_empty() {
        let mut names: Vec<_> = all().map(|control| control.krate).collect();
        names.dedup();
        return Err(format!(
            "there are no controls for `{}`; there are for {}",
            only.unwrap_or_default(),
            names.join(", ")
        ));
    }

    if chosen.iter().any(|control| control.test.package == "live") {
        servers::provide(&[Need::Postgres, Need::Redis], false)?;
    }

    Ok(chosen)
}

/// How many tests pass without their protection.
async fn break_each(chosen: &[&'static Control]) -> Result<usize, String> {
    println!("protection -> the test that fails without it");
    let told = |control: &Control, ending: Ending| {
        println!("{control} ... {ending}");
    };
    let endings = endings(chosen, Protection::Out, told).await?;
    Ok(endings.iter().filter(|(_, ending)| *ending == Ending::Passed).count())
}

fn verdict(bad: usize) -> Result<(), String> {
    match bad {
        0 => Ok(()),
        bad => Err(format!("{bad} controls do not hold")),
    }
}
