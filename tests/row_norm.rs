//! Layer norm, RMS norm, group norm and instance norm against their formulas in `f64`.

mod common;
mod row_norm {
    mod group_norm {
        mod properties;
        mod reference;
        mod refusals;
        pub(crate) mod subject;
    }
    mod layer_norm {
        mod properties;
        mod reference;
        mod refusals;
        pub(crate) mod subject;
    }
    pub(crate) mod results;
}
