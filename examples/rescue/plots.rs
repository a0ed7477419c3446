//! Three pictures: how large the gradient is at each layer and in each step, and how well each network reads.

use std::error::Error;
use std::path::Path;

use crate::chart::{self, Axis, Line, Panel};
use crate::remedies::Disease;
use crate::report::Row;

const NORMS: Axis = Axis { low: 1e-30, high: 1e12, is_logarithm: true };
/// Points of a line over steps, at most.
const POINTS: usize = 150;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The gradient's norm at each layer before the first step.
pub(crate) fn gradient_norms(path: &Path, rows: &[Row]) -> Result<()> {
    let panels = panels(rows, "gradient norm by layer, before the first step", |row| {
        numbered(row.history.epochs[0].norms())
    });
    chart::draw(path, "layer (1 is next to the pixels)", NORMS, &panels)
}

/// The norm of all gradients together in each step, before it is clipped: the largest of each stretch of steps.
pub(crate) fn step_norms(path: &Path, rows: &[Row]) -> Result<()> {
    let steps = rows.iter().map(|row| row.history.steps.len()).max().unwrap_or(1);
    let stretch = steps.div_ceil(POINTS);
    let panels = panels(rows, "gradient norm by step, before clipping", |row| {
        let largest = |norms: &[f64]| norms.iter().copied().fold(f64::NAN, f64::max);
        let stretches = row.history.steps.chunks(stretch).enumerate();
        stretches.map(|(at, norms)| ((at * stretch + 1) as f64, largest(norms))).collect()
    });
    chart::draw(path, "step", NORMS, &panels)
}

/// The share of test digits recognised after each epoch.
pub(crate) fn accuracy(path: &Path, rows: &[Row]) -> Result<()> {
    let panels = panels(rows, "test accuracy by epoch, %", |row| {
        numbered(row.history.epochs.iter().map(|epoch| 100.0 * epoch.accuracy))
    });
    chart::draw(path, "epoch", Axis { low: 0.0, high: 100.0, is_logarithm: false }, &panels)
}

/// The vanishing network with its remedies on the left, the exploding one on the right.
fn panels(rows: &[Row], caption: &str, points: impl Fn(&Row) -> Vec<(f64, f64)>) -> [Panel; 2] {
    [("Vanishing", Disease::Vanishing), ("Exploding", Disease::Exploding)].map(|(title, disease)| {
        let line = |row: &Row| {
            let name = row.remedy.name.split(':').next().unwrap_or(row.remedy.name);
            Line { name: format!("{name}: {}", row.outcome()), points: points(row) }
        };
        let rows = rows.iter().filter(|row| row.remedy.disease == disease);
        Panel { caption: format!("{title}: {caption}"), lines: rows.map(line).collect() }
    })
}

/// Values at 1, 2, ….
fn numbered(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values.enumerate().map(|(at, value)| (at as f64 + 1.0, value)).collect()
}
