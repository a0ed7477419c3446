//! The losses against their formulas in `f64`, at every level, shape and special value.

mod common;
mod loss {
    mod binary_cross_entropy_with_logits;
    mod cross_entropy;
    mod negative_log_likelihood;
    mod pointwise;
    mod softmax;
    pub(crate) mod subject;
}
