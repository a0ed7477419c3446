//! Three pictures: how large the gradient is at each layer and in each step, and how well each network reads.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::remedies::Disease;
use crate::report::Row;

const SIZE: (u32, u32) = (1800, 640);
/// Width of the names beside a chart.
const NAMES: u32 = 300;
/// Gradients outside are drawn at the border; 0 has no logarithm.
const NORMS: (f64, f64) = (1e-30, 1e12);
/// Points of a line over steps, at most.
const POINTS: usize = 150;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What a picture shows of each row.
struct Picture {
    caption: &'static str,
    x: &'static str,
    /// Points along x, the first at 1.
    line: fn(&Row) -> Vec<f64>,
    /// Distance of two points.
    stretch: usize,
    y: Axis,
}

#[derive(Clone, Copy)]
enum Axis {
    /// Norms by their decimal logarithm.
    Norm,
    Percent,
}

/// The gradient's norm at each layer before the first step.
pub(crate) fn gradient_norms(path: &Path, rows: &[Row]) -> Result<()> {
    let picture = Picture {
        caption: "gradient norm by layer, before the first step",
        x: "layer (1 is next to the pixels)",
        line: |row| row.history.epochs[0].norms.clone(),
        stretch: 1,
        y: Axis::Norm,
    };
    picture.draw(path, rows)
}

/// The norm of all gradients together in each step, before it is clipped: the largest of each stretch of steps.
pub(crate) fn step_norms(path: &Path, rows: &[Row]) -> Result<()> {
    let steps = rows.iter().map(|row| row.history.steps.len()).max().unwrap_or(1);
    let picture = Picture {
        caption: "gradient norm by step, before clipping",
        x: "step",
        line: |row| row.history.steps.clone(),
        stretch: steps.div_ceil(POINTS),
        y: Axis::Norm,
    };
    picture.draw(path, rows)
}

/// The share of test digits recognised after each epoch.
pub(crate) fn accuracy(path: &Path, rows: &[Row]) -> Result<()> {
    let picture = Picture {
        caption: "test accuracy by epoch, %",
        x: "epoch",
        line: |row| row.history.epochs.iter().map(|epoch| 100.0 * epoch.accuracy).collect(),
        stretch: 1,
        y: Axis::Percent,
    };
    picture.draw(path, rows)
}

impl Axis {
    /// Where a value is drawn.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Norm => value.clamp(NORMS.0, NORMS.1).log10(),
            Self::Percent => value,
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Norm => format!("1e{place:.0}"),
            Self::Percent => format!("{place:.0}"),
        }
    }

    /// The ends of the axis that holds `places`.
    fn range(self, places: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        match self {
            Self::Norm => {
                let (low, high) =
                    places.fold((-2.0_f64, 1.0_f64), |(low, high), y| (low.min(y), high.max(y)));
                low - 0.5..high + 0.5
            }
            Self::Percent => 0.0..100.0,
        }
    }
}

impl Picture {
    /// The vanishing network with its remedies on the left, the exploding one on the right.
    fn draw(&self, path: &Path, rows: &[Row]) -> Result<()> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(SIZE.0 / 2);
        let sides = [(left, "Vanishing", Disease::Vanishing), (right, "Exploding", Disease::Exploding)];
        for (side, title, disease) in sides {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.remedy.disease == disease).collect();
            let (chart, names) = side.split_horizontally(SIZE.0 / 2 - NAMES);
            self.lines(&chart, title, &rows)?;
            name_lines(&names, &rows)?;
        }
        root.present()?;
        Ok(())
    }

    fn lines(&self, panel: &Panel<'_>, title: &str, rows: &[&Row]) -> Result<()> {
        let line = |row: &Row| -> Vec<(f64, f64)> {
            let largest = (self.line)(row);
            let largest =
                largest.chunks(self.stretch).map(|part| part.iter().copied().fold(f64::NAN, f64::max));
            let placed = largest.enumerate().filter(|(_, value)| value.is_finite());
            placed.map(|(at, value)| ((at * self.stretch + 1) as f64, self.y.place(value))).collect()
        };
        let lines: Vec<_> = rows.iter().map(|row| line(row)).collect();
        let points = || lines.iter().flatten();
        let last = points().map(|&(x, _)| x).fold(2.0, f64::max);
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{title}: {}", self.caption), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(1.0..last, self.y.range(points().map(|&(_, y)| y)))?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| self.y.label(*y))
            .draw()?;
        for (index, line) in lines.into_iter().enumerate() {
            chart.draw_series(LineSeries::new(line, style(index)).point_size(1))?;
        }
        Ok(())
    }
}

/// Each row's colour and name, and what became of it.
fn name_lines(panel: &Panel<'_>, rows: &[&Row]) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        let y = 44 + 22 * index as i32;
        let name = row.remedy.name.split(':').next().unwrap_or(row.remedy.name);
        let text = format!("{name}: {}", row.verdict());
        panel.draw(&PathElement::new([(0, y), (20, y)], style(index)))?;
        panel.draw(&Text::new(text, (28, y - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

/// Black and thick for the disease, a colour of its own for each remedy.
fn style(index: usize) -> ShapeStyle {
    match index {
        0 => BLACK.stroke_width(3),
        _ => HSLColor(index as f64 * 0.618_034 % 1.0, 0.8, 0.42).stroke_width(2),
    }
}
