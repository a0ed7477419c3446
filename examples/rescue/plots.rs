//! Two pictures: how large the gradient is at each layer, and how well each network reads after each epoch.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::remedies::Disease;
use crate::report::Row;

const SIZE: (u32, u32) = (1280, 560);
/// Gradients outside are drawn at the border; 0 has no logarithm.
const NORMS: (f64, f64) = (1e-30, 1e12);

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The gradient's norm at each layer before the first step.
pub(crate) fn gradient_norms(path: &Path, rows: &[Row]) -> Result<()> {
    panels(path, rows, |panel, title, rows| {
        let norms = |row: &Row| row.history.epochs[0].norms.clone();
        let all: Vec<f64> =
            rows.iter().flat_map(|row| norms(row)).filter(|n| *n > 0.0 && n.is_finite()).collect();
        let low = all.iter().copied().fold(1e-2, f64::min).max(NORMS.0) / 10.0;
        let high = all.iter().copied().fold(1e1, f64::max).min(NORMS.1) * 10.0;
        let layers = rows.iter().map(|row| norms(row).len()).max().unwrap_or(1);
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{title}: gradient norm by layer, before the first step"), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(1.0..layers.max(2) as f64, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("layer (1 is next to the pixels)")
            .x_label_formatter(&|layer| format!("{layer:.0}"))
            .y_label_formatter(&|norm| format!("{norm:.0e}"))
            .draw()?;
        for (index, row) in rows.iter().enumerate() {
            let (style, points) = (style(index), norms(row));
            let points = points.iter().enumerate().filter(|(_, norm)| norm.is_finite());
            let points = points.map(|(layer, norm)| (layer as f64 + 1.0, norm.clamp(low, high)));
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(label(row))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    })
}

/// The share of test digits recognised after each epoch.
pub(crate) fn accuracy(path: &Path, rows: &[Row]) -> Result<()> {
    panels(path, rows, |panel, title, rows| {
        let epochs = rows.iter().map(|row| row.history.epochs.len()).max().unwrap_or(1);
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{title}: test accuracy by epoch"), ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(1.0..epochs.max(2) as f64, 0.0..100.0)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc("%")
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|percent| format!("{percent:.0}"))
            .draw()?;
        for (index, row) in rows.iter().enumerate() {
            let style = style(index);
            let points = row.history.epochs.iter().enumerate();
            let points = points.map(|(number, epoch)| (number as f64 + 1.0, 100.0 * epoch.accuracy));
            chart
                .draw_series(LineSeries::new(points, style).point_size(2))?
                .label(label(row))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    })
}

/// The vanishing network with its remedies on the left, the exploding one on the right.
fn panels(path: &Path, rows: &[Row], draw: impl Fn(&Panel<'_>, &str, &[&Row]) -> Result<()>) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    let sides = [(left, "Vanishing", Disease::Vanishing), (right, "Exploding", Disease::Exploding)];
    for (panel, title, disease) in sides {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.remedy.disease == disease).collect();
        draw(&panel, title, &rows)?;
    }
    root.present()?;
    Ok(())
}

/// Black and thick for the disease, a colour of its own for each remedy.
fn style(index: usize) -> ShapeStyle {
    match index {
        0 => BLACK.stroke_width(3),
        _ => HSLColor(index as f64 * 0.618_034 % 1.0, 0.8, 0.42).stroke_width(2),
    }
}

fn label(row: &Row) -> &'static str {
    row.remedy.name.split(':').next().unwrap_or(row.remedy.name)
}
