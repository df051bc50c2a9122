//! Draws demand, what was ready for it, and where it was too little.

mod canvas;
mod png;
mod svg;

use std::fmt;
use std::time::Duration;

use self::canvas::{Anchor, Canvas, Colour};
use super::Frontier;
use super::engine::{Run, Tick};

const WIDTH: f32 = 1200.0;
const PANEL: f32 = 230.0;
const HEAD: f32 = 84.0;
const FOOT: f32 = 44.0;
const LEFT: f32 = 64.0;
const RIGHT: f32 = 24.0;

const INK: Colour = Colour(0x22, 0x26, 0x2b);
const FAINT: Colour = Colour(0xd5, 0xd9, 0xde);
const DEMAND: Colour = Colour(0x9d, 0xb8, 0xd6);
const READY: Colour = Colour(0x1b, 0x5e, 0x9e);
const BILLED: Colour = Colour(0xe0, 0x8a, 0x1e);
const SLOW: Colour = Colour(0xd6, 0x2f, 0x2f);

/// A plot, to be written as SVG or PNG.
#[derive(Debug)]
pub struct Plot {
    canvas: Canvas,
}

/// A plot that could not be drawn.
#[derive(Debug)]
pub struct PlotError(String);

impl fmt::Display for PlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plot could not be drawn: {}", self.0)
    }
}

impl std::error::Error for PlotError {}

impl Plot {
    /// A panel for each policy: `of` this load, the hours from `from` on, as many as
    /// `hours`.
    #[must_use]
    pub fn runs(
        title: &str,
        tick: Duration,
        runs: &[(&str, &Run)],
        from: f64,
        hours: f64,
    ) -> Self {
        let height = HEAD + PANEL * runs.len() as f32 + FOOT;
        let mut canvas = Canvas::new(WIDTH, height);
        canvas.text(LEFT, 30.0, title, INK, Anchor::Start, true);
        let mut at = LEFT;
        for (name, colour) in [
            ("demand", DEMAND),
            ("ready", READY),
            ("paid for", BILLED),
            ("slow requests", SLOW),
        ] {
            canvas.rect(at, 48.0, 16.0, 12.0, colour);
            canvas.text(at + 24.0, 60.0, name, INK, Anchor::Start, false);
            at += 52.0 + 10.0 * name.len() as f32;
        }
        canvas.text(WIDTH - RIGHT, 60.0, "in instances", INK, Anchor::End, false);
        let per_hour = 3600.0 / tick.as_secs_f64();
        let window = |run: &'_ Run| -> Vec<Tick> {
            let first = ((from * per_hour) as usize).min(run.ticks.len());
            let last = (((from + hours) * per_hour) as usize).min(run.ticks.len());
            run.ticks[first..last].to_vec()
        };
        let windows: Vec<Vec<Tick>> = runs.iter().map(|(_, run)| window(run)).collect();
        let most = windows
            .iter()
            .flatten()
            .map(|tick| tick.demand.max(tick.billed.into()))
            .fold(4.0, f64::max);
        for (at, ((name, run), window)) in runs.iter().zip(&windows).enumerate() {
            let top = HEAD + PANEL * at as f32;
            panel(&mut canvas, top, name, run, window, most);
        }
        hours_axis(&mut canvas, HEAD + PANEL * runs.len() as f32, from, hours);
        Self { canvas }
    }

    /// Cost against slow requests: each frontier a line, each policy a point.
    #[must_use]
    pub fn frontiers(
        title: &str,
        lines: &[(&str, &Frontier)],
        points: &[(&str, super::Score)],
    ) -> Self {
        canvas::frontiers(title, lines, points)
    }

    /// As SVG.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::draw(&self.canvas)
    }

    /// As PNG.
    ///
    /// # Errors
    ///
    /// A plot that is too large to be drawn.
    pub fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        png::draw(&self.canvas).map_err(PlotError)
    }
}

fn panel(canvas: &mut Canvas, top: f32, name: &str, run: &Run, window: &[Tick], most: f64) {
    let (bottom, height) = (top + PANEL - 34.0, PANEL - 70.0);
    let width = WIDTH - LEFT - RIGHT;
    let x = |at: usize| LEFT + width * at as f32 / window.len().max(1) as f32;
    let y = |value: f64| bottom - height * (value / most) as f32;
    canvas.text(LEFT, top + 18.0, name, INK, Anchor::Start, true);
    let score = format!(
        "{:.2} % slow   cost {:.2}   {} changes",
        run.score.violation * 100.0,
        run.score.cost,
        run.score.actions
    );
    canvas.text(WIDTH - RIGHT, top + 18.0, &score, INK, Anchor::End, false);
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        .into_iter()
        .find(|step| most / step <= 5.0)
        .unwrap_or(1000.0);
    let mut value = 0.0;
    while value <= most {
        canvas.line(&[(LEFT, y(value)), (WIDTH - RIGHT, y(value))], FAINT, 1.0);
        let label = format!("{value:.0}");
        canvas.text(LEFT - 8.0, y(value) + 5.0, &label, INK, Anchor::End, false);
        value += step;
    }
    let mut area = vec![(LEFT, bottom)];
    area.extend(window.iter().enumerate().map(|(at, tick)| (x(at), y(tick.demand))));
    area.push((x(window.len()), bottom));
    canvas.area(&area, DEMAND);
    canvas.line(&stairs(window, &x, |tick| y(tick.billed.into())), BILLED, 1.5);
    canvas.line(&stairs(window, &x, |tick| y(tick.ready.into())), READY, 2.0);
    // A band of its own, so that it is seen whatever lies above.
    for (at, _) in window.iter().enumerate().filter(|(_, tick)| tick.violated) {
        let wide = (width / window.len() as f32).max(1.5);
        canvas.rect(x(at), bottom + 3.0, wide, 9.0, SLOW);
    }
}

fn stairs(
    window: &[Tick],
    x: &impl Fn(usize) -> f32,
    y: impl Fn(&Tick) -> f32,
) -> Vec<(f32, f32)> {
    let mut line: Vec<(f32, f32)> = Vec::new();
    for (at, tick) in window.iter().enumerate() {
        let height = y(tick);
        if let Some(&(_, last)) = line.last() {
            if last == height && at + 1 < window.len() {
                continue;
            }
            line.push((x(at), last));
        }
        line.push((x(at), height));
    }
    line
}

fn hours_axis(canvas: &mut Canvas, top: f32, from: f64, hours: f64) {
    let width = WIDTH - LEFT - RIGHT;
    let step = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0]
        .into_iter()
        .find(|step| hours / step <= 13.0)
        .unwrap_or(168.0);
    let mut hour = 0.0;
    while hour <= hours + 1e-9 {
        let x = LEFT + width * (hour / hours) as f32;
        let label = format!("{:.0} h", from + hour);
        let label = if step < 1.0 { format!("{:.2} h", from + hour) } else { label };
        let anchor = if hour + step > hours { Anchor::End } else { Anchor::Middle };
        canvas.text(x, top - 4.0, &label, INK, anchor, false);
        hour += step;
    }
}
