//! `step/…`: whole training steps, composed from the crate's kernels.

mod charlstm;
mod mlp;

use crate::timing::Bench;
pub(crate) use mlp::{flow_names, run_flow};

pub(crate) fn names() -> Vec<String> {
    ["mlp20_bn", "resmlp20", "charlstm"].map(|model| format!("step/{model}")).to_vec()
}

pub(crate) fn run(bench: &Bench, parts: &[&str]) -> Option<()> {
    mlp::run(bench, parts).or_else(|| charlstm::run(bench, parts))
}
