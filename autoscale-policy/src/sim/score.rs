use super::engine::{Run, Tick};

/// How good a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The share of requests that came while instances were above 90 % or the queue was
    /// longer than 0.5 s, or that were given up.
    pub violation: f64,
    /// Instance hours, of the least that would have kept below 90 % with warm-up at no
    /// time and the future known.
    pub cost: f64,
    /// How many changes were made.
    pub actions: u32,
    /// SPEC RG's elasticity (Herbst, Kounev, Reussner, ICAC 2013; normalised as by
    /// Herbst et al., 2018): by how much too little there was, in percent of the need.
    pub under: f64,
    /// By how much too much.
    pub over: f64,
    /// The share of time with too little, in percent.
    pub under_time: f64,
    /// The share of time with too much.
    pub over_time: f64,
    /// The share of time in which need and supply changed in different ways.
    pub instability: f64,
}

#[derive(Debug)]
pub(super) struct Tally {
    ticks: Vec<Tick>,
    pub(super) actions: u32,
    requests: f64,
    slow: f64,
    least: f64,
    billed: f64,
    sums: Score,
    last: Option<(f64, u32)>,
}

impl Tally {
    pub(super) fn new(ticks: usize) -> Self {
        Self {
            ticks: Vec::with_capacity(ticks),
            actions: 0,
            requests: 0.0,
            slow: 0.0,
            least: 0.0,
            billed: 0.0,
            sums: Score::default(),
            last: None,
        }
    }

    pub(super) fn add(&mut self, tick: Tick, arrivals: f64, least: f64) {
        self.requests += arrivals;
        self.slow += if tick.violated { arrivals } else { 0.0 };
        self.least += least;
        self.billed += f64::from(tick.billed);
        let gap = f64::from(tick.ready) - least;
        self.sums.under += (-gap).max(0.0) / least;
        self.sums.over += gap.max(0.0) / least;
        self.sums.under_time += f64::from(gap < 0.0);
        self.sums.over_time += f64::from(gap > 0.0);
        if let Some((need, supply)) = self.last {
            let need = (least - need).partial_cmp(&0.0);
            let supply = tick.ready.cmp(&supply);
            self.sums.instability += f64::from(need != Some(supply));
        }
        self.last = Some((least, tick.ready));
        self.ticks.push(tick);
    }

    pub(super) fn finish(self) -> Run {
        let percent = |sum: f64| 100.0 * sum / (self.ticks.len().max(1)) as f64;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let score = Score {
            violation: share(self.slow, self.requests),
            cost: share(self.billed, self.least),
            actions: self.actions,
            under: percent(self.sums.under),
            over: percent(self.sums.over),
            under_time: percent(self.sums.under_time),
            over_time: percent(self.sums.over_time),
            instability: percent(self.sums.instability),
        };
        Run { score, ticks: self.ticks }
    }
}
