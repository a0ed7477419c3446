//! What a plain recurrent network forgets, and what an LSTM and a GRU keep.
//!
//! `cargo run --release --example long_memory` trains four networks on two tasks whose answer lies far back: digits that
//! are read pixel by pixel, and the adding problem of Hochreiter & Schmidhuber, "Long short-term memory", 1997. It prints
//! what became of them and draws two pictures. `--help` lists what can be changed.

#[path = "../shared/chart.rs"]
mod chart;
#[path = "../shared/digits.rs"]
mod digits;
mod network;
mod tasks;
mod training;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chart::{Axis, Line, Panel};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tasks::Task;
use training::{CELLS, Cell, History, Plan};

/// Trains recurrent networks on tasks with a long memory.
#[derive(Parser)]
struct Options {
    /// Units of each network
    #[arg(long, default_value_t = 64)]
    hidden: usize,
    /// Passes over the digits
    #[arg(long, default_value_t = 50)]
    epochs: usize,
    /// Steps of training on the adding problem
    #[arg(long, default_value_t = 2500)]
    steps: usize,
    /// Also the adding problem over 400 steps
    #[arg(long)]
    long: bool,
    /// Seed of the weights, the split and the sequences
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the two pictures go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// A network that was trained on a task.
struct Row {
    task: usize,
    cell: Cell,
    history: History,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Options { hidden, epochs, steps, long, seed, out } = Options::parse();
    if hidden == 0 || epochs == 0 || steps == 0 {
        return Err("--hidden, --epochs and --steps must be at least 1".into());
    }
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let started = Instant::now();
    let mut tasks = vec![Task::digits(epochs, seed), Task::adding(100, steps)];
    if long {
        tasks.push(Task::adding(400, steps));
    }
    println!(
        "{hidden} units, Adam with a learning rate of {} that falls along a cosine, seed {seed}\n",
        training::LEARNING_RATE
    );
    let rows = train_all(&tasks, Plan { hidden, seed })?;
    print_table(&tasks, &rows);
    for (task, name) in tasks.iter().enumerate() {
        explain(name, rows.iter().filter(|row| row.task == task));
    }
    let pictures = ["loss", "gradients"].map(|name| out.join(format!("long-memory-{name}.svg")));
    draw_losses(&pictures[0], &tasks, &rows)?;
    draw_gradients(&pictures[1], &tasks, &rows)?;
    println!();
    for path in &pictures {
        println!("wrote {}", path.display());
    }
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Trains the networks side by side, a thread a network: each is the same however many there are.
fn train_all(tasks: &[Task], plan: Plan) -> Result<Vec<Row>, Box<dyn Error>> {
    let jobs: Vec<(usize, Cell)> = (0..tasks.len()).flat_map(|task| CELLS.map(|cell| (task, cell))).collect();
    let steps: usize = jobs.iter().map(|&(task, _)| tasks[task].steps()).sum();
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {elapsed} of about {duration}  {msg}",
    )?);
    let (next, trained) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        // The kernels' own threads would only get in the way of the other networks.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
        while let Some(&(task, cell)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            bar.set_message(format!("{} on {}", cell.name(), tasks[task].name()));
            let history = pool.install(|| training::train(cell, &tasks[task], plan, || bar.inc(1)));
            trained.lock().expect("no thread panics with the lock").push((task, cell, history));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads.min(jobs.len())).for_each(|_| _ = scope.spawn(work));
    });
    bar.finish_and_clear();
    let mut trained = trained.into_inner().expect("no thread panics with the lock");
    trained.sort_by_key(|&(task, cell, _)| (task, cell as usize));
    trained.into_iter().map(|(task, cell, history)| Ok(Row { task, cell, history: history? })).collect()
}

fn print_table(tasks: &[Task], rows: &[Row]) {
    println!("{:<14} {:>24} {:>24}", "", "gradient of the loss at h:", "the same after");
    println!("{:<14} {:>24} {:>24} {:>24}", "network", "first step over last", "training", "on the test set");
    for (index, task) in tasks.iter().enumerate() {
        println!("{}", task.name());
        for row in rows.iter().filter(|row| row.task == index) {
            let History { before, after, score, diverged_at, .. } = &row.history;
            println!(
                "  {:<12} {:>24} {:>24} {:>24}  {}",
                row.cell.name(),
                ratio(before),
                ratio(after),
                task.show(*score),
                match diverged_at {
                    Some(step) => format!("not finite at step {step}"),
                    None if task.is_solved(*score) => "solved".into(),
                    None => String::new(),
                }
            );
        }
    }
    println!();
}

/// The first of the norms over the last.
fn ratio(norms: &[f64]) -> String {
    format!("{:.0e}", norms[0] / norms[norms.len() - 1])
}

fn explain<'a>(task: &Task, rows: impl Iterator<Item = &'a Row>) {
    let (solved, others): (Vec<&Row>, Vec<&Row>) = rows.partition(|row| task.is_solved(row.history.score));
    let names = |rows: &[&Row]| {
        let name = |row: &&Row| format!("{} ({})", row.cell.name(), task.show(row.history.score).trim());
        if rows.is_empty() { "nothing".into() } else { rows.iter().map(name).collect::<Vec<_>>().join(", ") }
    };
    println!(
        "{}: solved, which is {}, by {}; not by {}.",
        task.name(),
        task.goal(),
        names(&solved),
        names(&others)
    );
}

fn draw_losses(path: &Path, tasks: &[Task], rows: &[Row]) -> Result<(), Box<dyn Error>> {
    /// Steps of which a point is the mean.
    const STRETCH: usize = 20;
    let panels: Vec<Panel> = panels(tasks, rows, "loss by step", |history| {
        let stretches = history.losses.chunks(STRETCH).enumerate();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        stretches.map(|(at, losses)| ((at * STRETCH + 1) as f64, mean(losses))).collect()
    });
    chart::draw(path, "step", Axis { low: 1e-5, high: 1e2, is_logarithm: true }, &panels)
}

fn draw_gradients(path: &Path, tasks: &[Task], rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let panels: Vec<Panel> =
        panels(tasks, rows, "norm of the loss's gradient at h, before training", |history| {
            history.before.iter().enumerate().map(|(at, &norm)| (at as f64 + 1.0, norm)).collect()
        });
    chart::draw(path, "step of the sequence", Axis { low: 1e-30, high: 1e12, is_logarithm: true }, &panels)
}

fn panels(
    tasks: &[Task],
    rows: &[Row],
    caption: &str,
    points: impl Fn(&History) -> Vec<(f64, f64)>,
) -> Vec<Panel> {
    let panel = |(index, task): (usize, &Task)| {
        let of_task = rows.iter().filter(|row| row.task == index);
        let line = |row: &Row| Line {
            name: format!("{}: {}", row.cell.name(), task.show(row.history.score).trim()),
            points: points(&row.history),
        };
        Panel { caption: format!("{}: {caption}", task.name()), lines: of_task.map(line).collect() }
    };
    tasks.iter().enumerate().map(panel).collect()
}
