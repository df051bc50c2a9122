use super::{FAINT, INK, Plot, READY};
use crate::sim::{Frontier, Score};

#[derive(Clone, Copy, Debug)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug)]
pub(super) enum Shape {
    Rect { x: f32, y: f32, width: f32, height: f32, colour: Colour },
    Line { points: Vec<(f32, f32)>, colour: Colour, width: f32 },
    Area { points: Vec<(f32, f32)>, colour: Colour },
    Text { x: f32, y: f32, text: String, colour: Colour, anchor: Anchor, large: bool },
}

/// What is drawn, whatever it is written as.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) width: f32,
    pub(super) height: f32,
    pub(super) shapes: Vec<Shape>,
}

impl Canvas {
    pub(super) fn new(width: f32, height: f32) -> Self {
        Self { width, height, shapes: Vec::new() }
    }

    pub(super) fn rect(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        self.shapes.push(Shape::Rect { x, y, width, height, colour });
    }

    pub(super) fn line(&mut self, points: &[(f32, f32)], colour: Colour, width: f32) {
        self.shapes.push(Shape::Line { points: points.to_vec(), colour, width });
    }

    pub(super) fn area(&mut self, points: &[(f32, f32)], colour: Colour) {
        self.shapes.push(Shape::Area { points: points.to_vec(), colour });
    }

    pub(super) fn text(
        &mut self,
        x: f32,
        y: f32,
        text: &str,
        colour: Colour,
        anchor: Anchor,
        large: bool,
    ) {
        let text = text.to_owned();
        self.shapes.push(Shape::Text { x, y, text, colour, anchor, large });
    }
}

const LINES: [Colour; 4] =
    [Colour(0x70, 0x75, 0x7d), Colour(0xe0, 0x8a, 0x1e), READY, Colour(0x2a, 0x8c, 0x4a)];

/// Slow requests in percent over cost, the former on a logarithmic axis.
pub(super) fn frontiers(
    title: &str,
    lines: &[(&str, &Frontier)],
    points: &[(&str, Score)],
) -> Plot {
    let (width, height, left, right, top, bottom) = (1000.0, 640.0, 90.0, 30.0, 96.0, 70.0);
    let mut canvas = Canvas::new(width, height);
    canvas.text(left, 30.0, title, INK, Anchor::Start, true);
    let of_lines = lines.iter().flat_map(|(_, line)| line.points.iter().map(|p| p.score));
    let scores: Vec<Score> = of_lines.chain(points.iter().map(|(_, score)| *score)).collect();
    let span = |value: &dyn Fn(&Score) -> f64| {
        let values = scores.iter().map(value);
        values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let percent = |score: &Score| (score.violation * 100.0).max(0.01).log10();
    let ((low_x, high_x), (low_y, high_y)) = (span(&|score| score.cost), span(&percent));
    let (low_x, high_x) = ((low_x * 20.0).floor() / 20.0, (high_x * 20.0).ceil() / 20.0);
    // Up to the next 1, 2 or 5.
    let nice = [0.0, 2_f64.log10(), 5_f64.log10(), 1.0];
    let above = nice.into_iter().find(|step| high_y.floor() + step >= high_y).unwrap_or(1.0);
    let low_y = low_y.floor();
    let high_y = (high_y.floor() + above).max(low_y + 1.0);
    let x = |cost: f64| {
        left + (width - left - right) * ((cost - low_x) / (high_x - low_x).max(0.05)) as f32
    };
    let y = |log: f64| {
        height - bottom - (height - top - bottom) * ((log - low_y) / (high_y - low_y)) as f32
    };
    let mut power = low_y;
    while power <= high_y {
        for (factor, width_of) in [(1.0, 1.5), (2.0, 0.5), (5.0, 0.5)] {
            let log = power + f64::log10(factor);
            if log > high_y {
                continue;
            }
            canvas.line(&[(left, y(log)), (width - right, y(log))], FAINT, width_of);
            let label = format!("{} %", 10_f64.powf(log).mul_add(1000.0, 0.5).floor() / 1000.0);
            canvas.text(left - 8.0, y(log) + 5.0, &label, INK, Anchor::End, false);
        }
        power += 1.0;
    }
    let step = if high_x - low_x > 1.2 { 0.2 } else { 0.1 };
    let mut cost = (low_x / step).ceil() * step;
    while cost <= high_x + 1e-9 {
        canvas.line(&[(x(cost), top), (x(cost), height - bottom)], FAINT, 0.5);
        let label = format!("{cost:.1}");
        canvas.text(x(cost), height - bottom + 22.0, &label, INK, Anchor::Middle, false);
        cost += step;
    }
    let axis = "cost, of the least that would do";
    canvas.text(width - right, height - 14.0, axis, INK, Anchor::End, false);
    canvas.text(left, 82.0, "slow requests", INK, Anchor::Start, false);
    let mut legend = left + 190.0;
    for ((name, line), colour) in lines.iter().zip(LINES.iter().cycle()) {
        let path: Vec<_> =
            line.points.iter().map(|p| (x(p.score.cost), y(percent(&p.score)))).collect();
        canvas.line(&path, *colour, 2.5);
        for &(px, py) in &path {
            canvas.rect(px - 2.5, py - 2.5, 5.0, 5.0, *colour);
        }
        canvas.rect(legend, 70.0, 16.0, 12.0, *colour);
        canvas.text(legend + 24.0, 82.0, name, INK, Anchor::Start, false);
        legend += 56.0 + 10.0 * name.len() as f32;
    }
    for (name, score) in points {
        let (px, py) = (x(score.cost), y(percent(score)));
        canvas.rect(px - 6.0, py - 6.0, 12.0, 12.0, INK);
        let end = px > width - 260.0;
        let (at, anchor) =
            if end { (px - 12.0, Anchor::End) } else { (px + 12.0, Anchor::Start) };
        canvas.text(at, py - 8.0, name, INK, anchor, false);
    }
    Plot { canvas }
}
