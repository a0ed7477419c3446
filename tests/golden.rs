//! PyTorch's own outputs and gradients, which `tests/golden/make.py` wrote, through the public functions; and
//! scikit-learn's, by `tests/golden/make_pretrain.py`.

mod common;
mod golden {
    pub(crate) mod activation;
    pub(crate) mod case;
    pub(crate) mod clip;
    pub(crate) mod linear;
    pub(crate) mod loss;
    pub(crate) mod norm;
    pub(crate) mod optim;
    pub(crate) mod pretrain;
    pub(crate) mod recurrent;
    pub(crate) mod recurrent_stack;
    pub(crate) mod regularize;
    pub(crate) mod residual;
    pub(crate) mod row_norm;
    pub(crate) mod schedule;
    pub(crate) mod weight_norm;
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
fn golden_row_norm() {
    golden::row_norm::check::<f64>();
    golden::row_norm::check::<f32>();
}

#[test]
fn golden_weight_norm() {
    golden::weight_norm::check::<f64>();
    golden::weight_norm::check::<f32>();
}

#[test]
fn golden_optim() {
    golden::optim::check::<f64>();
    golden::optim::check::<f32>();
}

#[test]
fn golden_schedule() {
    golden::schedule::check();
}

#[test]
fn golden_recurrent() {
    golden::recurrent::check::<f64>();
    golden::recurrent::check::<f32>();
}

#[test]
fn golden_recurrent_stack() {
    golden::recurrent_stack::check::<f64>();
    golden::recurrent_stack::check::<f32>();
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
fn golden_regularize() {
    golden::regularize::check::<f64>();
    golden::regularize::check::<f32>();
}

#[test]
fn golden_residual() {
    golden::residual::check::<f64>();
    golden::residual::check::<f32>();
}

#[test]
fn golden_norm() {
    golden::norm::check::<f64>();
    golden::norm::check::<f32>();
}

#[test]
fn golden_pretrain() {
    golden::pretrain::check::<f64>();
    golden::pretrain::check::<f32>();
}
