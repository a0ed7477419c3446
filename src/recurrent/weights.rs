//! Weights that are made: drawn, or taken over from Keras and ONNX.

use alloc::vec::Vec;

use rand_core::Rng;

use super::layer::{Layer, Pass};
use super::sequence::Sizes;
use super::{Gru, GruReset, Lstm, LstmVariant, RecurrentWeights};
use crate::init::Distribution;
use crate::shape::check_len;
use crate::{Element, Error, Init, RowShape};

/// The weights of a layer, in their own memory; what a layer does not have is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerWeights<T> {
    /// As [`RecurrentWeights::input`].
    pub input: Vec<T>,
    /// As [`RecurrentWeights::recurrent`].
    pub recurrent: Vec<T>,
    /// As [`RecurrentWeights::input_bias`].
    pub input_bias: Vec<T>,
    /// As [`RecurrentWeights::recurrent_bias`].
    pub recurrent_bias: Vec<T>,
    /// As [`RecurrentWeights::projection`].
    pub projection: Vec<T>,
    /// As [`RecurrentWeights::peephole`].
    pub peephole: Vec<T>,
    /// As [`RecurrentWeights::norm`].
    pub norm: Vec<T>,
}

impl<T> LayerWeights<T> {
    /// As a layer takes them to pack.
    #[must_use]
    pub fn borrow(&self) -> RecurrentWeights<'_, T> {
        fn some<T>(values: &[T]) -> Option<&[T]> {
            Some(values).filter(|values| !values.is_empty())
        }
        RecurrentWeights {
            input: &self.input,
            recurrent: &self.recurrent,
            input_bias: some(&self.input_bias),
            recurrent_bias: some(&self.recurrent_bias),
            projection: some(&self.projection),
            peephole: some(&self.peephole),
            norm: some(&self.norm),
        }
    }
}

/// How the weights of a recurrent layer begin.
///
/// Each gate is a matrix of its own. Orthogonal recurrent weights neither stretch nor shrink what goes through time (Saxe,
/// `McClelland` & Ganguli 2013; Le, Jaitly & Hinton 2015); a forget gate that begins open lets gradients through from the
/// first step on (Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015).
///
/// # Examples
/// ```
/// use rand::SeedableRng;
/// use steadygrad::recurrent::{Layer, Lstm, RecurrentInit};
///
/// let lstm = Lstm { inputs: 3, hidden: 2, ..Lstm::default() };
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
/// let weights = RecurrentInit::default().draw::<_, f64>(&lstm, &mut rng)?;
/// assert_eq!(weights.input_bias, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]); // i, f, g, o
/// let [a, b] = [&weights.recurrent[..2], &weights.recurrent[2..4]];
/// assert!((a[0] * b[0] + a[1] * b[1]).abs() < 1e-12); // rows at right angles
/// let packed = lstm.pack(weights.borrow())?;
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentInit {
    /// Of the input weights; Xavier's uniform by default.
    pub input: Init,
    /// Of the recurrent weights; orthogonal with gain 1 by default.
    pub recurrent: Init,
    /// Of the projection; Xavier's uniform by default.
    pub projection: Init,
    /// What the forget gate of an LSTM adds, 1 by default; where gates are coupled, the input gate subtracts it. All other
    /// biases, and peepholes, are 0, and gains of norms 1.
    pub forget_bias: f64,
}

impl Default for RecurrentInit {
    fn default() -> Self {
        let xavier = Init::Xavier { gain: 1.0, distribution: Distribution::Uniform };
        Self {
            input: xavier,
            recurrent: Init::Orthogonal { gain: 1.0 },
            projection: xavier,
            forget_bias: 1.0,
        }
    }
}

impl RecurrentInit {
    /// Draws the weights of a layer: input weights, recurrent weights, projection, each gate after gate.
    ///
    /// # Errors
    /// As [`Init::fill`], and [`Error::Overflow`] where the sizes do not fit in `usize`.
    pub fn draw<L: Layer, T: Element>(
        &self,
        layer: &L,
        rng: &mut impl Rng,
    ) -> Result<LayerWeights<T>, Error> {
        let sizes = layer.sizes();
        let Sizes { inputs, hidden, outputs, gates, .. } = sizes;
        let mut gate = |init: Init, rows, cols, count: usize| {
            let len = RowShape { rows, cols }.elements()?;
            let all = len.checked_mul(count).ok_or(Error::Overflow { argument: "shape" })?;
            let mut weights = alloc::vec![T::zero(); all];
            for gate in weights.chunks_exact_mut(len.max(1)) {
                init.fill(RowShape { rows, cols }, rng, gate)?;
            }
            Ok::<_, Error>(weights)
        };
        let input = gate(self.input, hidden, inputs, gates)?;
        let recurrent = gate(self.recurrent, hidden, outputs, gates)?;
        let projection = gate(self.projection, outputs, hidden, usize::from(sizes.form.projected))?;
        let mut input_bias = alloc::vec![T::zero(); sizes.width()];
        if let Some((gate, sign)) = layer.forget_gate() {
            input_bias[gate * hidden..][..hidden].fill(T::from_f64(sign * self.forget_bias));
        }
        let mut norm = alloc::vec![T::one(); sizes.norm_len()];
        // The last of them is the bias of the cell.
        norm[sizes.norm_len() / 10 * 9..].fill(T::zero());
        Ok(LayerWeights {
            input,
            recurrent,
            recurrent_bias: alloc::vec![T::zero(); sizes.width()],
            input_bias,
            projection,
            peephole: alloc::vec![T::zero(); sizes.peephole_len()],
            norm,
        })
    }
}

/// A layer's weights as Keras has them.
#[derive(Clone, Copy, Debug)]
pub struct KerasWeights<'a, T> {
    /// `inputs` rows of `gates · hidden`: `kernel`.
    pub kernel: &'a [T],
    /// `hidden` rows of `gates · hidden`: `recurrent_kernel`.
    pub recurrent_kernel: &'a [T],
    /// `gates · hidden`, of a GRU with `reset_after` two rows of them: `bias`.
    pub bias: Option<&'a [T]>,
}

/// The weights of one direction of a layer as an ONNX operator takes them.
#[derive(Clone, Copy, Debug)]
pub struct OnnxWeights<'a, T> {
    /// `gates · hidden` rows of `inputs`: W.
    pub w: &'a [T],
    /// `gates · hidden` rows of `hidden`: R.
    pub r: &'a [T],
    /// Twice `gates · hidden`, of the input and of the recurrence: B.
    pub b: Option<&'a [T]>,
    /// `3 · hidden`, of i, o and f: P, of an LSTM.
    pub p: Option<&'a [T]>,
}

impl Lstm {
    /// The weights of a Keras `LSTM`, whose gates are i, f, c, o.
    ///
    /// # Errors
    /// [`Error::Length`] names the first slice that does not fit the layer; [`Error::Unsupported`] for a projection,
    /// peepholes and coupled gates, which Keras's layer has not.
    pub fn keras_weights<T: Element>(&self, weights: KerasWeights<'_, T>) -> Result<LayerWeights<T>, Error> {
        if self.projection.is_some() || self.variant != LstmVariant::Standard {
            return Err(Error::Unsupported { operation: "a Keras LSTM with other gates or a projection" });
        }
        let expected = self.hidden.checked_mul(4).ok_or(Error::Overflow { argument: "shape" })?;
        check_len("bias", weights.bias.map_or(0, <[T]>::len), weights.bias.map_or(0, |_| expected))?;
        from_keras(Pass::sizes(self), &[0, 1, 2, 3], weights)
    }

    /// The weights of an ONNX `LSTM`, whose gates are i, o, f, c; with [`LstmVariant::Coupled`], of one with `input_forget`,
    /// whose f is not used, and with [`LstmVariant::Peephole`], of one with P.
    ///
    /// # Errors
    /// [`Error::Length`] names the first slice that does not fit the layer; [`Error::Unsupported`] for a projection, which
    /// the operator has not.
    pub fn onnx_weights<T: Element>(&self, weights: OnnxWeights<'_, T>) -> Result<LayerWeights<T>, Error> {
        if self.projection.is_some() {
            return Err(Error::Unsupported { operation: "an ONNX LSTM with a projection" });
        }
        let sizes = Pass::sizes(self);
        check_len("p", weights.p.map_or(0, <[T]>::len), sizes.peephole_len())?;
        let order: &[usize] = if self.variant == LstmVariant::Coupled { &[0, 3, 1] } else { &[0, 2, 3, 1] };
        let mut converted = from_onnx(sizes, 4, order, weights)?;
        if let Some(p) = weights.p {
            converted.peephole = gates(p, self.hidden, &[0, 2, 1]);
        }
        Ok(converted)
    }
}

impl Gru {
    /// The weights of a Keras `GRU`, whose gates are z, r, h; `reset_after` is [`GruReset::After`].
    ///
    /// # Errors
    /// [`Error::Length`] names the first slice that does not fit the layer.
    pub fn keras_weights<T: Element>(&self, weights: KerasWeights<'_, T>) -> Result<LayerWeights<T>, Error> {
        let rows = if self.reset == GruReset::After { 2 } else { 1 };
        let expected = self.hidden.checked_mul(3 * rows).ok_or(Error::Overflow { argument: "shape" })?;
        check_len("bias", weights.bias.map_or(0, <[T]>::len), weights.bias.map_or(0, |_| expected))?;
        from_keras(Pass::sizes(self), &[1, 0, 2], weights)
    }

    /// The weights of an ONNX `GRU`, whose gates are z, r, h; `linear_before_reset` is [`GruReset::After`], and the
    /// operator's default [`GruReset::Before`].
    ///
    /// # Errors
    /// [`Error::Length`] names the first slice that does not fit the layer.
    pub fn onnx_weights<T: Element>(&self, weights: OnnxWeights<'_, T>) -> Result<LayerWeights<T>, Error> {
        check_len("p", weights.p.map_or(0, <[T]>::len), 0)?;
        from_onnx(Pass::sizes(self), 3, &[1, 0, 2], weights)
    }
}

/// `count · width · cols`, or an error.
fn product(factors: [usize; 3]) -> Result<usize, Error> {
    let product = factors.into_iter().try_fold(1_usize, usize::checked_mul);
    product.ok_or(Error::Overflow { argument: "shape" })
}

/// Blocks of `len` in the order in which ours takes them.
fn gates<T: Copy>(from: &[T], len: usize, order: &[usize]) -> Vec<T> {
    order.iter().flat_map(|&gate| &from[gate * len..][..len]).copied().collect()
}

fn from_keras<T: Element>(
    Sizes { inputs, hidden, .. }: Sizes,
    order: &[usize],
    KerasWeights { kernel, recurrent_kernel, bias }: KerasWeights<'_, T>,
) -> Result<LayerWeights<T>, Error> {
    let width = product([order.len(), hidden, 1])?;
    check_len("kernel", kernel.len(), product([width, inputs, 1])?)?;
    check_len("recurrent_kernel", recurrent_kernel.len(), product([width, hidden, 1])?)?;
    // Columns of theirs are rows of ours.
    let transposed = |from: &[T], rows: usize| -> Vec<T> {
        let column = |at: usize| (0..rows).map(move |row| from[row * width + at]);
        gates(&(0..width).flat_map(column).collect::<Vec<T>>(), hidden * rows, order)
    };
    let (first, second) = bias.unwrap_or_default().split_at(bias.map_or(0, |_| width));
    let of = |bias: &[T]| if bias.is_empty() { Vec::new() } else { gates(bias, hidden, order) };
    Ok(LayerWeights {
        input: transposed(kernel, inputs),
        recurrent: transposed(recurrent_kernel, hidden),
        input_bias: of(first),
        recurrent_bias: of(second),
        ..LayerWeights::default()
    })
}

fn from_onnx<T: Element>(
    Sizes { inputs, hidden, .. }: Sizes,
    theirs: usize,
    order: &[usize],
    OnnxWeights { w, r, b, .. }: OnnxWeights<'_, T>,
) -> Result<LayerWeights<T>, Error> {
    check_len("w", w.len(), product([theirs, hidden, inputs])?)?;
    check_len("r", r.len(), product([theirs, hidden, hidden])?)?;
    let width = product([theirs, hidden, 1])?;
    let expected = product([2, width, 1])?;
    check_len("b", b.map_or(0, <[T]>::len), b.map_or(0, |_| expected))?;
    let (first, second) = b.unwrap_or_default().split_at(b.map_or(0, |_| width));
    let of = |bias: &[T]| if bias.is_empty() { Vec::new() } else { gates(bias, hidden, order) };
    Ok(LayerWeights {
        input: gates(w, hidden * inputs, order),
        recurrent: gates(r, hidden * hidden, order),
        input_bias: of(first),
        recurrent_bias: of(second),
        ..LayerWeights::default()
    })
}
