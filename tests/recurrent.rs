//! Recurrent layers against their scalar cells, through time: every level, direction and size.

mod common;
mod recurrent {
    mod gates;
    mod gradient_mode;
    mod layer_norm_lstm;
    mod memory;
    mod parts;
    mod properties;
    mod refusals;
    pub(crate) mod subject;
    pub(crate) mod textbook;
    mod zoneout;
}
