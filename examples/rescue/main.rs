//! A network of 30 hidden layers that does not learn, one that blows up, and what rescues them.
//!
//! `cargo run --release --example rescue` trains the same deep network on handwritten digits with and without each
//! remedy, prints what became of the gradients, and draws three pictures. `--help` lists what can be changed.

#[path = "../shared/chart.rs"]
mod chart;
#[path = "../shared/digits.rs"]
mod digits;
mod network;
mod norms;
mod plots;
mod png;
mod pretraining;
mod remedies;
mod report;
mod training;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use digits::Digits;
use pretraining::Pretrained;
use report::Row;
use training::Plan;

/// Trains a deep network on handwritten digits: sick, and with each remedy.
#[derive(Parser)]
struct Options {
    /// Hidden layers
    #[arg(long, default_value_t = 30, value_parser = at_least_one)]
    depth: usize,
    /// Neurons of a hidden layer
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    width: usize,
    /// Hidden layers of the network that is pre-trained
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pretrain_depth: usize,
    /// Passes over the training images
    #[arg(long, default_value_t = 30, value_parser = at_least_one)]
    epochs: usize,
    /// Seed of the split, the weights and the order of the images
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every measurement to this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where the pictures go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Options { depth, width, pretrain_depth, epochs, seed, csv, out } = Options::parse();
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let started = Instant::now();
    let digits = Digits::load(seed);
    println!(
        "{} hidden layers of {} neurons, {} digits to learn from, {} to be tested on, {} epochs, seed {}",
        depth,
        width,
        digits.train.len(),
        digits.test.len(),
        epochs,
        seed
    );
    println!(
        "SGD with momentum {}, learning rate from {} to 0 along a cosine (AdamW: from {})\n",
        training::MOMENTUM,
        training::LEARNING_RATE,
        training::ADAM_LEARNING_RATE
    );
    let rows = train_all(Plan { depth, width, epochs, seed }, &digits)?;
    report::print_table(&rows);
    report::explain(&rows);
    report::print_diagnoses(&rows);

    println!(
        "\nThe vanishing network of {pretrain_depth} hidden layers, from scratch and pre-trained layer by layer:\n"
    );
    let (pretrained, filters): (Vec<Row>, Vec<_>) =
        pretraining::rows(Plan { depth: pretrain_depth, width, epochs, seed }, &digits)?
            .into_iter()
            .map(|Pretrained { row, filters }| (row, filters))
            .unzip();
    report::print_table(&pretrained);

    println!();
    let mut pictures =
        ["gradients", "accuracy", "steps"].map(|name| out.join(format!("rescue-{name}.svg"))).to_vec();
    plots::gradient_norms(&pictures[0], &rows)?;
    plots::accuracy(&pictures[1], &rows)?;
    plots::step_norms(&pictures[2], &rows)?;
    for (name, weights) in filters.into_iter().flatten() {
        let path = out.join(format!("rescue-filters-{name}.png"));
        pretraining::draw_filters(&path, &weights).map_err(|error| format!("{}: {error}", path.display()))?;
        pictures.push(path);
    }
    if let Some(path) = &csv {
        report::write_csv(path, &rows).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for path in pictures.iter().chain(&csv) {
        println!("wrote {}", path.display());
    }
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Trains the rows side by side, a thread a row: each is the same however many there are.
fn train_all(plan: Plan, digits: &Digits) -> Result<Vec<Row>, Box<dyn Error>> {
    let remedies = remedies::all();
    let bar = ProgressBar::new((remedies.len() * plan.epochs) as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {elapsed} of about {duration}  {msg}",
    )?);
    let next = AtomicUsize::new(0);
    let trained = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&remedy) = remedies.get(index) else { break };
            bar.set_message(remedy.name);
            let history = training::train(remedy, plan, digits, || bar.inc(1));
            trained.lock().expect("no thread panics with the lock").push((index, remedy, history));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads.min(remedies.len())).for_each(|_| _ = scope.spawn(work));
    });
    bar.finish_and_clear();
    let mut trained = trained.into_inner().expect("no thread panics with the lock");
    trained.sort_by_key(|&(index, ..)| index);
    trained.into_iter().map(|(_, remedy, history)| Ok(Row { remedy, history: history? })).collect()
}
