use std::fmt::Write;

use super::canvas::{Anchor, Canvas, Colour, Shape};

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

pub(super) fn draw(canvas: &Canvas) -> String {
    let Canvas { width, height, .. } = *canvas;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, monospace\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for shape in &canvas.shapes {
        // Writing into a String does not fail.
        let _ = match shape {
            Shape::Rect { x, y, width, height, colour } => writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
            ),
            Shape::Line { points, colour, width } => writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                path(points)
            ),
            Shape::Area { points, colour } => {
                writeln!(out, "<polygon points=\"{}\" fill=\"{colour}\"/>", path(points))
            }
            Shape::Text { x, y, text, colour, anchor, large } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                let size = if *large { 18 } else { 14 };
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{text}</text>"
                )
            }
        };
    }
    out.push_str("</svg>\n");
    out
}

fn path(points: &[(f32, f32)]) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (x, y) in points {
        // As above.
        let _ = write!(path, "{x:.1},{y:.1} ");
    }
    path.truncate(path.trim_end().len());
    path
}
