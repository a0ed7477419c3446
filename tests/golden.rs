//! PyTorch's own outputs and gradients, which `tests/golden/make.py` wrote, through the public functions.

mod common;
mod golden {
    pub(crate) mod activation;
    pub(crate) mod case;
}

#[test]
fn golden_activation() {
    golden::activation::check::<f64>();
    golden::activation::check::<f32>();
}
