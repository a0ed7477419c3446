//! PyTorch's own outputs and gradients, which `tests/golden/make.py` wrote, through the public functions.

mod common;
mod golden {
    pub(crate) mod activation;
    pub(crate) mod case;
    pub(crate) mod clip;
    pub(crate) mod linear;
    pub(crate) mod loss;
    pub(crate) mod norm;
    pub(crate) mod optim;
}

#[test]
fn golden_activation() {
    golden::activation::check::<f64>();
    golden::activation::check::<f32>();
}

#[test]
fn golden_clip() {
    golden::clip::check::<f64>();
    golden::clip::check::<f32>();
}

#[test]
fn golden_optim() {
    golden::optim::check::<f64>();
    golden::optim::check::<f32>();
}

#[test]
fn golden_linear() {
    golden::linear::check::<f64>();
    golden::linear::check::<f32>();
}

#[test]
fn golden_loss() {
    golden::loss::check::<f64>();
    golden::loss::check::<f32>();
}

#[test]
fn golden_norm() {
    golden::norm::check::<f64>();
    golden::norm::check::<f32>();
}
