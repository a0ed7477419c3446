//! What the measurements mean: an outcome and two diagnoses a row, the table, the numbers, and the run in words.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use steadygrad::diagnostics::{Diagnosis, GradientFlow, Signal, Thresholds, Verdict};

use crate::remedies::{Disease, Remedy};
use crate::training::{Epoch, History};

/// A trained row.
pub(crate) struct Row {
    pub(crate) remedy: Remedy,
    pub(crate) history: History,
}

/// Accuracy from which a network counts as having learnt.
const LEARNS: f64 = 0.9;
/// Accuracy below which it has learnt nothing worth the name; guessing is right in a tenth of the cases.
const NOTHING: f64 = 0.3;

/// What became of a network.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Learns,
    LearnsPartly,
    /// It learnt nothing: of this.
    Sick(Verdict),
    /// It learnt nothing, and the diagnosis finds nothing.
    Stuck,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Learns => "learns",
            Self::LearnsPartly => "learns partly",
            Self::Sick(verdict) => verdict.name(),
            Self::Stuck => "stuck",
        })
    }
}

/// The crate's diagnosis, by its default thresholds.
fn diagnose(flow: &GradientFlow) -> Diagnosis<'_> {
    Thresholds::default().diagnose(&flow.layers).expect("default thresholds are in range")
}

/// The disease and where it begins, with layers counted as in the pictures, from 1.
fn in_short(verdict: Verdict) -> String {
    let name = verdict.name();
    match verdict {
        Verdict::Vanishing { from_layer, signal: Signal::Gradients, .. } => {
            format!("{name} from {} back", from_layer + 1)
        }
        Verdict::Exploding { factor, .. } if !factor.is_finite() => "not finite".into(),
        Verdict::Exploding { from_layer, signal: Signal::Gradients, .. } => {
            format!("{name} from {} back", from_layer + 1)
        }
        Verdict::Healthy => name.into(),
        Verdict::Vanishing { from_layer, .. }
        | Verdict::Exploding { from_layer, .. }
        | Verdict::Saturated { from_layer, .. }
        | Verdict::Dead { from_layer, .. } => format!("{name} from {} on", from_layer + 1),
        _ => name.into(),
    }
}

impl Row {
    fn first(&self) -> &Epoch {
        &self.history.epochs[0]
    }

    fn last(&self) -> &Epoch {
        &self.history.epochs[self.history.epochs.len() - 1]
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.last().accuracy
    }

    /// Of the first step's measurements.
    fn before(&self) -> Verdict {
        diagnose(&self.first().flow).verdict
    }

    /// Of what a step after the last would measure.
    fn after(&self) -> Verdict {
        diagnose(&self.history.after).verdict
    }

    /// By accuracy where something was learnt; else by the diagnosis before the first step, or where that found nothing, after
    /// the last.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.history.diverged_at.is_none() && self.accuracy() >= LEARNS {
            Outcome::Learns
        } else if self.history.diverged_at.is_none() && self.accuracy() >= NOTHING {
            Outcome::LearnsPartly
        } else {
            let sick = [self.before(), self.after()].into_iter().find(|&verdict| verdict != Verdict::Healthy);
            sick.map_or(Outcome::Stuck, Outcome::Sick)
        }
    }
}

/// The table, a line a row.
pub(crate) fn print_table(rows: &[Row]) {
    let head = ["gradient, first", "test", "", "diagnosis before", "and after"];
    println!("{:<49} {:>15} {:>9}  {:<13} {:<24} {}", "", head[0], head[1], head[2], head[3], head[4]);
    let head = ["to last layer", "accuracy", "outcome", "the first step", "the last"];
    println!("{:<49} {:>15} {:>9}  {:<13} {:<24} {}", "remedy", head[0], head[1], head[2], head[3], head[4]);
    for row in rows {
        let indent = if row.remedy.name.starts_with('+') { "  " } else { "" };
        println!(
            "{:<49} {:>15} {:>7.1} %  {:<13} {:<24} {}",
            format!("{indent}{}", row.remedy.name),
            format!("{:.0e}", row.first().ratio()),
            100.0 * row.accuracy(),
            row.outcome(),
            in_short(row.before()),
            match row.history.diverged_at {
                Some(step) => format!("{} at step {step}", in_short(row.after())),
                None => in_short(row.after()),
            }
        );
    }
}

/// The whole diagnosis of both diseases, before the first step.
pub(crate) fn print_diagnoses(rows: &[Row]) {
    for (disease, _) in DISEASES {
        let sick = rows.iter().find(|row| row.remedy.disease == disease);
        let sick = sick.expect("a disease comes before its remedies");
        println!("\n{}, before the first step:\n{}", sick.remedy.name, diagnose(&sick.first().flow));
    }
}

const DISEASES: [(Disease, &str); 2] = [(Disease::Vanishing, "vanishing"), (Disease::Exploding, "exploding")];

/// The run in words, from its numbers.
pub(crate) fn explain(rows: &[Row]) {
    println!();
    for (disease, what) in DISEASES {
        let mut of = rows.iter().filter(|row| row.remedy.disease == disease);
        let sick = of.next().expect("a disease comes before its remedies");
        let mut norms = sick.first().norms();
        let (first, last) = (norms.next().unwrap_or(f64::NAN), norms.next_back().unwrap_or(f64::NAN));
        println!(
            "The {what} network: of a gradient of {last:.1e} at the last layer, {first:.1e} is at the first; {:.1} % of \
             the test digits were recognised (guessing: 10 %).",
            100.0 * sick.accuracy()
        );
        let (healed, others): (Vec<&Row>, Vec<&Row>) = of.partition(|row| row.outcome() == Outcome::Learns);
        println!("  healed by: {}", names(&healed));
        println!("  not by:    {}", names(&others));
    }
    let best = rows.iter().max_by(|a, b| a.accuracy().total_cmp(&b.accuracy())).expect("rows");
    println!(
        "Best: \"{}\", {:.1} % of the test digits, with a gradient at the first layer of {:.1e} times the last one's.",
        best.remedy.name.trim_start_matches("+ "),
        100.0 * best.accuracy(),
        best.first().ratio()
    );
    println!(
        "Outcomes: learns from {:.0} % accuracy, partly from {:.0} %; below that the disease that the crate's diagnosis names, with \
         its default thresholds, layers counted from the pixels.",
        100.0 * LEARNS,
        100.0 * NOTHING
    );
}

fn names(rows: &[&Row]) -> String {
    let name = |row: &&Row| {
        let name = row.remedy.name.trim_start_matches("+ ");
        format!("{name} ({:.0} %)", 100.0 * row.accuracy())
    };
    if rows.is_empty() { "nothing".into() } else { rows.iter().map(name).collect::<Vec<_>>().join("; ") }
}

/// Every measurement, a line an epoch.
pub(crate) fn write_csv(path: &Path, rows: &[Row]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write!(file, "disease,remedy,epoch,loss,test_accuracy,first_to_last_ratio")?;
    let layers = rows.first().map_or(0, |row| row.first().norms().count());
    (1..=layers).try_for_each(|layer| write!(file, ",gradient_norm_{layer}"))?;
    writeln!(file)?;
    for row in rows {
        let disease = match row.remedy.disease {
            Disease::Vanishing => "vanishing",
            Disease::Exploding => "exploding",
        };
        for (number, epoch) in row.history.epochs.iter().enumerate() {
            let Epoch { loss, accuracy, .. } = epoch;
            write!(file, "{disease},\"{}\",{},{loss:e}", row.remedy.name, number + 1)?;
            write!(file, ",{accuracy:.4},{:e}", epoch.ratio())?;
            epoch.norms().try_for_each(|norm| write!(file, ",{norm:e}"))?;
            writeln!(file)?;
        }
    }
    file.flush()
}
