//! t
use crate::element::compiled_once;
fn t() {}
/// Op.
#[derive(Debug, Clone, Copy)]
pub enum Activation {
    /// relu
    Relu,
}
compiled_once! { fn a() = t; }
