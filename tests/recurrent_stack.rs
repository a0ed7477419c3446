//! Stacks of recurrent layers: against the layers they are made of, and sequences of any lengths against each alone.

mod common;
mod recurrent_stack {
    mod dropout;
    mod infer;
    mod layers;
    mod lengths;
    mod properties;
    pub(crate) mod refusals;
    pub(crate) mod subject;
}
