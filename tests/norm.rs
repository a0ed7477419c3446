//! Norms: every level against the references, the properties that define them, and fused against composed.

mod common;
mod norm {
    mod fusion;
    mod places;
    mod properties;
    mod reference;
    mod refusals;
    mod split;
    mod streaming;
    pub(crate) mod subject;
}
