//! Layer-wise pre-training: machines against their formulas, exact gradients and judges.

mod common;
mod pretrain {
    mod autoencoder;
    mod greedy;
    pub(crate) mod machine;
    mod rbm;
    mod rbm_enumeration;
    mod rbm_refusals;
}
