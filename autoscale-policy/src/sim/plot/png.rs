use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use tiny_skia::{
    Color, FillRule, Paint, Path, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke,
    Transform,
};

use super::canvas::{Anchor, Canvas, Colour, Shape};

pub(super) fn draw(canvas: &Canvas) -> Result<Vec<u8>, String> {
    let (width, height) = (canvas.width as u32, canvas.height as u32);
    let mut pixels =
        Pixmap::new(width, height).ok_or_else(|| format!("{width} by {height} pixels"))?;
    pixels.fill(Color::WHITE);
    for shape in &canvas.shapes {
        match shape {
            Shape::Rect { x, y, width, height, colour } => {
                fill(&mut pixels, (*x, *y), (*width, *height), *colour);
            }
            // A line of a grid: sharp.
            Shape::Line { points, colour, width } if points.len() == 2 => {
                let [(x, y), (to_x, to_y)] = [points[0], points[1]];
                let size = ((to_x - x).max(*width), (to_y - y).max(*width));
                fill(&mut pixels, (x, y), size, *colour);
            }
            Shape::Line { points, colour, width } => {
                if let Some(path) = path(points, false) {
                    let stroke = Stroke { width: *width, ..Stroke::default() };
                    let still = Transform::identity();
                    pixels.stroke_path(&path, &paint(*colour), &stroke, still, None);
                }
            }
            Shape::Area { points, colour } => {
                if let Some(path) = path(points, true) {
                    let still = Transform::identity();
                    pixels.fill_path(&path, &paint(*colour), FillRule::Winding, still, None);
                }
            }
            Shape::Text { x, y, text, colour, anchor, large } => {
                let size = if *large { RasterHeight::Size20 } else { RasterHeight::Size16 };
                write(&mut pixels, (*x, *y), text, *colour, *anchor, size);
            }
        }
    }
    pixels.encode_png().map_err(|error| error.to_string())
}

/// On whole pixels, and one at least.
fn fill(pixels: &mut Pixmap, (x, y): (f32, f32), (width, height): (f32, f32), colour: Colour) {
    let (width, height) = (width.round().max(1.0), height.round().max(1.0));
    if let Some(rect) = Rect::from_xywh(x.round(), y.round(), width, height) {
        pixels.fill_rect(rect, &paint(colour), Transform::identity(), None);
    }
}

fn paint(Colour(red, green, blue): Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn path(points: &[(f32, f32)], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    let (&(x, y), rest) = points.split_first()?;
    builder.move_to(x, y);
    for &(x, y) in rest {
        builder.line_to(x, y);
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

/// `at` is on the base line, as in SVG.
fn write(
    pixels: &mut Pixmap,
    at: (f32, f32),
    text: &str,
    colour: Colour,
    anchor: Anchor,
    size: RasterHeight,
) {
    let (width, height) = (pixels.width() as i64, pixels.height() as i64);
    let advance = get_raster_width(FontWeight::Regular, size) as i64;
    let length = advance * text.chars().count() as i64;
    let left = at.0 as i64
        - match anchor {
            Anchor::Start => 0,
            Anchor::Middle => length / 2,
            Anchor::End => length,
        };
    let top = at.1 as i64 - size.val() as i64 * 4 / 5;
    let Colour(red, green, blue) = colour;
    for (place, letter) in text.chars().enumerate() {
        let Some(raster) = get_raster(letter, FontWeight::Regular, size) else { continue };
        for (row, line) in raster.raster().iter().enumerate() {
            for (column, &shade) in line.iter().enumerate() {
                let x = left + place as i64 * advance + column as i64;
                let y = top + row as i64;
                if shade == 0 || !(0..width).contains(&x) || !(0..height).contains(&y) {
                    continue;
                }
                let pixel = &mut pixels.pixels_mut()[(y * width + x) as usize];
                let mix = |old: u8, new: u8| {
                    let (old, new, shade) = (u32::from(old), u32::from(new), u32::from(shade));
                    ((old * (255 - shade) + new * shade) / 255) as u8
                };
                let [r, g, b] =
                    [mix(pixel.red(), red), mix(pixel.green(), green), mix(pixel.blue(), blue)];
                if let Some(mixed) = PremultipliedColorU8::from_rgba(r, g, b, 255) {
                    *pixel = mixed;
                }
            }
        }
    }
}
