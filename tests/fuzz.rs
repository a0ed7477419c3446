//! Every family's fuzz case on stable: over the seeds in `fuzz/seeds/` and over pseudo-random inputs.
//!
//! `fuzz/fuzz_targets/` gives the same functions to libFuzzer.

mod fuzz {
    pub(crate) mod activation;
    pub(crate) mod clip;
    pub(crate) mod diagnostics;
    pub(crate) mod init;
    pub(crate) mod linear;
    pub(crate) mod loss;
    pub(crate) mod math;
    pub(crate) mod norm;
    pub(crate) mod optim;
    pub(crate) mod pretrain;
    pub(crate) mod random;
    pub(crate) mod reader;
    pub(crate) mod recurrent;
    pub(crate) mod regularize;
    pub(crate) mod residual;
    pub(crate) mod row_norm;
    pub(crate) mod stats;
    pub(crate) mod weight_norm;
}

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Pseudo-random inputs a family gets beside its seeds.
const RANDOM_INPUTS: u64 = 2000;

/// Bytes of the longest pseudo-random input.
const LONGEST: u32 = 2048;

fn run_all(family: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(family);
    // The published package has no fuzz crate, so no seeds: the pseudo-random inputs remain.
    for seed in std::fs::read_dir(seeds).into_iter().flatten() {
        run(&std::fs::read(seed.expect("a readable folder").path()).expect("a readable seed"));
    }
    for number in 0..RANDOM_INPUTS {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let mut data = vec![0; (rng.next_u32() % LONGEST) as usize];
        rng.fill_bytes(&mut data);
        run(&data);
    }
}

#[test]
fn activation() {
    run_all("activation", fuzz::activation::run);
}

#[test]
fn loss() {
    run_all("loss", fuzz::loss::run);
}

#[test]
fn math() {
    run_all("math", fuzz::math::run);
}

#[test]
fn clip() {
    run_all("clip", fuzz::clip::run);
}

#[test]
fn diagnostics() {
    run_all("diagnostics", fuzz::diagnostics::run);
}

#[test]
fn optim() {
    run_all("optim", fuzz::optim::run);
}

#[test]
fn stats() {
    run_all("stats", fuzz::stats::run);
}

#[test]
fn row_norm() {
    run_all("row_norm", fuzz::row_norm::run);
}

#[test]
fn weight_norm() {
    run_all("weight_norm", fuzz::weight_norm::run);
}

#[test]
fn linear() {
    run_all("linear", fuzz::linear::run);
}

#[test]
fn recurrent() {
    run_all("recurrent", fuzz::recurrent::run);
}

#[test]
fn norm() {
    run_all("norm", fuzz::norm::run);
}

#[test]
fn init() {
    run_all("init", fuzz::init::run);
}

#[test]
fn random() {
    run_all("random", fuzz::random::run);
}

#[test]
fn regularize() {
    run_all("regularize", fuzz::regularize::run);
}

#[test]
fn residual() {
    run_all("residual", fuzz::residual::run);
}

#[test]
fn pretrain() {
    run_all("pretrain", fuzz::pretrain::run);
}
