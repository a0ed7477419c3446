//! What the measurements mean: a verdict a row, the table, the numbers, and the run in words.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

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
/// How far the first layer's gradient may be from the last layer's.
const STEADY: f64 = 1e3;

/// What became of a network, from its numbers alone.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Learns,
    LearnsPartly,
    Vanished,
    Exploded,
    Stuck,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Learns => "learns",
            Self::LearnsPartly => "learns partly",
            Self::Vanished => "vanished",
            Self::Exploded => "exploded",
            Self::Stuck => "stuck",
        })
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

    /// By accuracy where something was learnt; else by what was wrong with the gradients.
    pub(crate) fn verdict(&self) -> Verdict {
        let ratio = self.first().ratio();
        if self.history.diverged_at.is_some() {
            Verdict::Exploded
        } else if self.accuracy() >= LEARNS {
            Verdict::Learns
        } else if self.accuracy() >= NOTHING {
            Verdict::LearnsPartly
        } else if ratio.is_nan() || ratio > STEADY {
            Verdict::Exploded
        } else if ratio < 1.0 / STEADY {
            Verdict::Vanished
        } else {
            Verdict::Stuck
        }
    }
}

/// The table, a line a row.
pub(crate) fn print_table(rows: &[Row]) {
    println!("{:<49} {:>19} {:>19} {:>9}  verdict", "", "gradient, first to", "the same in the", "test");
    println!("{:<49} {:>19} {:>19} {:>9}", "remedy", "last layer, at start", "last epoch", "accuracy");
    for row in rows {
        let indent = if row.remedy.name.starts_with('+') { "  " } else { "" };
        println!(
            "{:<49} {:>19} {:>19} {:>7.1} %  {}",
            format!("{indent}{}", row.remedy.name),
            format!("{:.0e}", row.first().ratio()),
            format!("{:.0e}", row.last().ratio()),
            100.0 * row.accuracy(),
            match row.history.diverged_at {
                Some(step) => format!("{} (not finite at step {step})", row.verdict()),
                None => row.verdict().to_string(),
            }
        );
    }
}

/// The run in words, from its numbers.
pub(crate) fn explain(rows: &[Row]) {
    println!();
    for (disease, what) in [(Disease::Vanishing, "vanishing"), (Disease::Exploding, "exploding")] {
        let mut of = rows.iter().filter(|row| row.remedy.disease == disease);
        let sick = of.next().expect("a disease comes before its remedies");
        let norms = &sick.first().norms;
        let (first, last) = (norms[0], norms[norms.len() - 1]);
        println!(
            "The {what} network: of a gradient of {last:.1e} at the last layer, {first:.1e} is at the first; {:.1} % of \
             the test digits were recognised (guessing: 10 %).",
            100.0 * sick.accuracy()
        );
        let (healed, others): (Vec<&Row>, Vec<&Row>) = of.partition(|row| row.verdict() == Verdict::Learns);
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
        "Verdicts: learns from {:.0} % accuracy, partly from {:.0} %; below that vanished or exploded where first and last \
         layer differ by more than {STEADY:.0} times, exploded where a loss or gradient was not finite, else stuck.",
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
    let layers = rows.first().map_or(0, |row| row.first().norms.len());
    (1..=layers).try_for_each(|layer| write!(file, ",gradient_norm_{layer}"))?;
    writeln!(file)?;
    for row in rows {
        let disease = match row.remedy.disease {
            Disease::Vanishing => "vanishing",
            Disease::Exploding => "exploding",
        };
        for (number, epoch) in row.history.epochs.iter().enumerate() {
            let Epoch { loss, accuracy, norms } = epoch;
            write!(file, "{disease},\"{}\",{},{loss:e}", row.remedy.name, number + 1)?;
            write!(file, ",{accuracy:.4},{:e}", epoch.ratio())?;
            norms.iter().try_for_each(|norm| write!(file, ",{norm:e}"))?;
            writeln!(file)?;
        }
    }
    file.flush()
}
