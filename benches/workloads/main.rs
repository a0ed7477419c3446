//! The workloads of `benches/peers/peers.py`, timed the same way: one JSON line a measurement on stdout.
//!
//! ```text
//! cargo bench --bench workloads -- [--filter SUBSTRING] [--workload NAME]… [--threads N] [--rounds N]
//! cargo bench --bench workloads -- --count CALLS …     under callgrind: see benches/guard/check.py
//! ```
//!
//! Shapes are parsed out of the name, so `--workload act/elu/n1000` works for any n. `STEADYGRAD_LEVEL` chooses a
//! lower level.

mod act;
mod bn;
mod clip;
mod layer_norm;
mod limit;
mod linear;
mod lists;
mod optim;
mod pretrain;
mod recurrent;
mod softmax_ce;
mod step;
mod timing;

use clap::Parser;
use timing::Bench;

#[derive(Parser)]
struct Arguments {
    /// Only measurements whose `workload/direction` contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// These workloads instead of the default list.
    #[arg(long)]
    workload: Vec<String>,
    /// Threads of the pool.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Times the whole list is run.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Instead of timing, this many calls of what `--filter` names in full, for a tool that counts instructions.
    #[arg(long)]
    count: Option<usize>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A family's workloads: the default names, and how to run one.
type Family = (fn() -> Vec<String>, fn(&Bench, &[&str]) -> Option<()>);

/// By the first part of the name.
const FAMILIES: &[(&str, Family)] = &[
    ("limit", (limit::names, limit::run)),
    ("act", (act::names, act::run)),
    ("layer_norm", (layer_norm::names, layer_norm::run)),
    ("rms_norm", (Vec::new, layer_norm::run)),
    ("bn", (bn::names, bn::run)),
    ("bn_relu", (Vec::new, bn::run)),
    ("bn_add_relu", (Vec::new, bn::run)),
    ("linear", (linear::names, linear::run)),
    ("gemm", (linear::gemm_names, linear::run_gemm)),
    ("clip_norm", (clip::names, clip::run)),
    ("clip_norm_under", (Vec::new, clip::run)),
    ("clip_value", (Vec::new, clip::run)),
    ("softmax_ce", (softmax_ce::names, softmax_ce::run)),
    ("sgdm", (optim::names, optim::run)),
    ("adam", (Vec::new, optim::run)),
    ("adamw", (Vec::new, optim::run)),
    ("lion", (Vec::new, optim::run)),
    ("lars", (Vec::new, optim::run)),
    ("lamb", (Vec::new, optim::run)),
    ("clip+sgdm", (Vec::new, optim::run)),
    ("rbm_pcd", (pretrain::names, pretrain::run)),
    ("autoencoder", (pretrain::autoencoder_names, pretrain::run_autoencoder)),
    ("lstm", (recurrent::lstm_names, recurrent::run)),
    ("gru", (recurrent::gru_names, recurrent::run)),
    ("rnn", (Vec::new, recurrent::run)),
    ("step", (step::names, step::run)),
    ("flow", (step::flow_names, step::run_flow)),
    ("clip+adam", (Vec::new, optim::run)),
    ("clip+adamw", (Vec::new, optim::run)),
    ("clip+lion", (Vec::new, optim::run)),
];

fn main() {
    let arguments = Arguments::parse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build().expect("a pool");
    let names = if arguments.workload.is_empty() {
        FAMILIES.iter().flat_map(|(_, (names, _))| names()).collect()
    } else {
        arguments.workload
    };
    for round in 0..arguments.rounds {
        let (filter, threads, count) = (arguments.filter.clone(), arguments.threads, arguments.count);
        let bench = Bench { filter, threads, round, count };
        for name in &names {
            let parts: Vec<&str> = name.split('/').collect();
            let family = FAMILIES.iter().find(|(family, _)| *family == parts[0]);
            let known = family.and_then(|(_, (_, run))| pool.install(|| run(&bench, &parts)));
            if known.is_none() {
                eprintln!("no workload is called {name}");
                std::process::exit(2);
            }
        }
    }
}
