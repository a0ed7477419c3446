//! Which layer is sick, of what, and what helps: a report on the signals of a network, from the passes that are made anyway.
//!
//! A network learns where neither its activations nor its gradients grow or fade by a large factor from layer to layer
//! (Glorot & Bengio 2010; Saxe et al. 2014). [`LayerFlow`] holds what was measured of a layer, [`GradientFlow`] those of a
//! network, and [`Thresholds::diagnose`] names the disease.
//!
//! | measured | by | cost |
//! |---|---|---|
//! | gradients of a dense layer's sums | [`Dense::backward_observed`](crate::Dense::backward_observed) | squares of what it sums for the bias |
//! | weights, their gradients and updates, of any layer | [`Optimizer::step_observed`](crate::optim::Optimizer::step_observed), [`Clipped::step_observed`](crate::optim::Clipped::step_observed) | squares of what it reads and writes, while in L1 |
//! | activations, dead units, saturation | [`LayerFlow::observe_activations`] | one read: call it where the layer was just written |
//! | any of these, of your own kernels | the other methods of [`LayerFlow`] | one read |
//! | how much a layer can stretch | [`PowerIteration`] | two products an iteration |
//!
//! Every number is a public field. Norms are `f64`, the same bits for any number of threads. Nothing is allocated after
//! [`GradientFlow::new`].
//!
//! # Examples
//! ```
//! use steadygrad::diagnostics::{GradientFlow, Thresholds, Verdict};
//!
//! // Gradients of three layers, as any training loop has them: each is a 1000th of the one above.
//! let mut flow = GradientFlow::new(3);
//! for (layer, gradient) in flow.layers.iter_mut().zip([1e-6_f32, 1e-3, 1.0]) {
//!     layer.observe_gradient(&[gradient; 4]);
//! }
//! let diagnosis = Thresholds::default().diagnose(&flow.layers)?;
//! assert!(matches!(diagnosis.verdict, Verdict::Vanishing { from_layer: 0, .. }));
//! println!("{diagnosis}"); // a table, the verdict and its remedies
//! # Ok::<(), steadygrad::Error>(())
//! ```

mod flow;
mod jacobian;
pub mod observe;
mod verdict;

pub use flow::{GradientFlow, LayerFlow};
pub use jacobian::PowerIteration;
pub use observe::{Activity, Change, FlatRegion, Magnitude};
pub use verdict::{Diagnosis, Remedy, Signal, Thresholds, Verdict};
