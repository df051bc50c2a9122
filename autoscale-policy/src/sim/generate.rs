use std::f64::consts::TAU;
use std::str::FromStr;
use std::time::Duration;

use super::Load;

/// Makes load from a seed; one value a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// About eleven times a day a jump by 2 to 4.5 times within a minute, for 10 to 60
    /// minutes.
    Steps,
    /// From level to level in straight lines of 20 to 90 minutes.
    Ramps,
    /// Days and nights, quiet.
    Diurnal,
    /// Each minute another value: half of the changes are larger than 22 %.
    Noise,
    /// Quiet, and about twice a day a crowd that is 4 to 8 times as large within 5 to 15
    /// minutes, and leaves within one or two hours.
    Flash,
}

impl Generator {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Steps, Self::Ramps, Self::Diurnal, Self::Noise, Self::Flash];

    /// As the command line names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Ramps => "ramps",
            Self::Diurnal => "diurnal",
            Self::Noise => "noise",
            Self::Flash => "flash",
        }
    }

    /// So many days of it. The same seed makes the same load.
    #[must_use]
    pub fn load(self, seed: u64, days: u32) -> Load {
        let mut random = fastrand::Rng::with_seed(seed);
        let minutes = days as usize * 1440;
        let mut values = match self {
            Self::Steps => steps(&mut random, minutes),
            Self::Ramps => ramps(&mut random, minutes),
            Self::Diurnal => (0..minutes).map(day).collect(),
            Self::Noise => (0..minutes)
                .map(|minute| day(minute) * (0.2305 * normal(&mut random)).exp())
                .collect(),
            Self::Flash => flash(&mut random, minutes),
        };
        if self != Self::Noise {
            for value in &mut values {
                *value = (*value * (1.0 + 0.03 * normal(&mut random))).max(0.0);
            }
        }
        Load { step: Duration::from_secs(60), values }
    }
}

impl FromStr for Generator {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no generator `{name}`; there are {names}")
        })
    }
}

fn day(minute: usize) -> f64 {
    100.0 - 55.0 * (TAU * minute as f64 / 1440.0).cos()
}

/// Box and Muller's.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (TAU * random.f64()).cos()
}

fn between(random: &mut fastrand::Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * random.f64()
}

fn steps(random: &mut fastrand::Rng, minutes: usize) -> Vec<f64> {
    let mut values: Vec<f64> = (0..minutes).map(|minute| 40.0 + 0.2 * day(minute)).collect();
    let mut at = 0;
    while at < minutes {
        // With a jump's own length, about eleven a day.
        at += between(random, 30.0, 162.0) as usize;
        let (factor, lasts) = (between(random, 2.0, 4.5), between(random, 10.0, 60.0) as usize);
        for value in values.iter_mut().skip(at).take(lasts) {
            *value *= factor;
        }
        at += lasts;
    }
    values
}

fn ramps(random: &mut fastrand::Rng, minutes: usize) -> Vec<f64> {
    let (mut values, mut level) = (Vec::with_capacity(minutes), 60.0);
    while values.len() < minutes {
        let (to, lasts) = (between(random, 20.0, 180.0), between(random, 20.0, 90.0) as usize);
        values.extend((0..lasts).map(|n| level + (to - level) * n as f64 / lasts as f64));
        level = to;
    }
    values.truncate(minutes);
    values
}

fn flash(random: &mut fastrand::Rng, minutes: usize) -> Vec<f64> {
    let mut values: Vec<f64> = (0..minutes).map(|minute| 0.4 * day(minute)).collect();
    let mut at = 0;
    while at < minutes {
        at += between(random, 240.0, 1_200.0) as usize;
        let (factor, rise, leave) = (
            between(random, 4.0, 8.0),
            between(random, 5.0, 15.0),
            between(random, 60.0, 120.0),
        );
        for (n, value) in values.iter_mut().skip(at).take((rise + leave) as usize).enumerate() {
            let n = n as f64;
            let share = if n < rise { n / rise } else { (-(n - rise) / (leave / 4.0)).exp() };
            *value *= 1.0 + (factor - 1.0) * share;
        }
        at += (rise + leave) as usize;
    }
    values
}
