//! A picture of panels side by side: lines over a common axis, their names beside them.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Size of a panel with its names.
const PANEL: (u32, u32) = (900, 640);
/// Width of the names beside a chart.
const NAMES: u32 = 300;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How values along y are placed: as they are, or by their decimal logarithm, where 0 has none. What lies outside is drawn
/// at the border.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) is_logarithm: bool,
}

/// A line and what is said beside it.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Points (x, y); what is not finite is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines under a heading; the first is drawn black and thick.
pub(crate) struct Panel {
    pub(crate) caption: String,
    pub(crate) lines: Vec<Line>,
}

/// Draws the panels from left to right.
pub(crate) fn draw(path: &Path, x: &str, y: Axis, panels: &[Panel]) -> Result<()> {
    let root = SVGBackend::new(path, (PANEL.0 * panels.len() as u32, PANEL.1)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        let (chart, names) = area.split_horizontally(PANEL.0 - NAMES);
        draw_lines(&chart, x, y, panel)?;
        draw_names(&names, &panel.lines)?;
    }
    root.present()?;
    Ok(())
}

impl Axis {
    fn place(self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        if self.is_logarithm { value.log10() } else { value }
    }

    fn label(self, place: f64) -> String {
        if self.is_logarithm { format!("1e{place:.0}") } else { format!("{place:.0}") }
    }

    /// The ends of the axis: of logarithms those that hold `places`.
    fn range(self, places: impl Iterator<Item = f64>) -> Range<f64> {
        if !self.is_logarithm {
            return self.low..self.high;
        }
        let (low, high) = places.fold((-2.0_f64, 1.0_f64), |(low, high), y| (low.min(y), high.max(y)));
        low - 0.5..high + 0.5
    }
}

fn draw_lines(area: &Area<'_>, x: &str, axis: Axis, panel: &Panel) -> Result<()> {
    let placed = |line: &Line| -> Vec<(f64, f64)> {
        let finite = line.points.iter().filter(|(_, y)| y.is_finite());
        finite.map(|&(x, y)| (x, axis.place(y))).collect()
    };
    let lines: Vec<_> = panel.lines.iter().map(placed).collect();
    let points = || lines.iter().flatten();
    let last = points().map(|&(x, _)| x).fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.caption, ("sans-serif", 17))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(1.0..last, axis.range(points().map(|&(_, y)| y)))?;
    chart
        .configure_mesh()
        .x_desc(x)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| axis.label(*y))
        .draw()?;
    for (index, line) in lines.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(line, style(index)).point_size(1))?;
    }
    Ok(())
}

/// Each line's colour and name.
fn draw_names(area: &Area<'_>, lines: &[Line]) -> Result<()> {
    for (index, line) in lines.iter().enumerate() {
        let y = 44 + 22 * index as i32;
        area.draw(&PathElement::new([(0, y), (20, y)], style(index)))?;
        area.draw(&Text::new(line.name.as_str(), (28, y - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

/// Black and thick for the first, a colour of its own for each other.
fn style(index: usize) -> ShapeStyle {
    match index {
        0 => BLACK.stroke_width(3),
        _ => HSLColor(index as f64 * 0.618_034 % 1.0, 0.8, 0.42).stroke_width(2),
    }
}
