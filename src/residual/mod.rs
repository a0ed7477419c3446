//! Residual connections: a layer learns what to add to its input, so the gradient has a way past it.
//!
//! He et al., "Deep residual learning for image recognition", 2016. The ops join a skip path `x` with a branch `f` in one
//! pass; the branch itself is made of the crate's other ops. Where an op's gradient of `x` is `dy` itself, its backward
//! does not copy it: hand `dy` on, and join it with what comes back through the branch by
//! [`Add::forward_in_place`].
//!
//! # Pre- and post-activation blocks of dense layers
//!
//! ```
//! use steadygrad::linear::{Dense, DenseGradients, DenseWeights};
//! use steadygrad::residual::Add;
//! use steadygrad::{Activation, Epilogue};
//!
//! // y = relu(x + W·x): a post-activation block of one layer, and its backward.
//! let (layer, block) = (Dense { inputs: 2, outputs: 2 }, Add { activation: Activation::Relu });
//! let (x, weights) = ([1.0_f64, 2.0], [0.5, 0.0, 0.0, -2.0]);
//! let mut scratch = vec![0.0; layer.forward_scratch_len::<f64>(1).max(layer.backward_scratch_len::<f64>(1))];
//! let (mut f, mut y) = ([0.0; 2], [0.0; 2]);
//! let parameters = DenseWeights { weights: &weights, bias: None };
//! layer.forward(1, &x, parameters, Epilogue::default(), &mut scratch, &mut f)?;
//! block.forward(&x, &f, &mut y)?;
//! assert_eq!(y, [1.5, 0.0]);
//!
//! let (mut sum, mut dx) = ([0.0; 2], [0.0; 2]);
//! block.backward(&x, &f, &[1.0, 1.0], &mut sum)?; // the gradient of the branch and of the skip path
//! let gradients = DenseGradients { input: Some(&mut dx), ..DenseGradients::default() };
//! layer.backward(1, &x, &sum, &weights, &mut scratch, gradients)?;
//! Add::default().forward_in_place(&mut dx, &sum)?; // both paths join
//! assert_eq!(dx, [1.5, 0.0]);
//! # Ok::<(), steadygrad::Error>(())
//! ```
//!
//! Fused, the same forward is one call: `Dense::forward` with an
//! [`Epilogue`](crate::Epilogue) of `residual: Some(&x)` and the activation. A pre-activation block is `y = x + W·a(x)`:
//! [`Activation::forward`](crate::Activation::forward), then the dense layer with the residual `x` and no activation; its
//! backward is the dense layer's, [`Activation::backward_in_place`](crate::Activation::backward_in_place), and the same
//! join with `dy`.

pub mod add;
pub mod highway;
pub mod scaled;
pub mod stochastic_depth;

pub use add::Add;
pub use highway::{Highway, HighwayGradients, HighwayInputs};
pub use scaled::Scaled;
pub use stochastic_depth::StochasticDepth;
