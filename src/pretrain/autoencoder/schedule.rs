//! The passes of a loss and its gradient: products by the dense layer's kernels, losses by theirs.

use super::kernel::{AddRows, Contract, Corrupt, RowSquares, Slopes};
use super::{Autoencoder, AutoencoderTensors, AutoencoderWeights, Corruption, Reconstruction};
use crate::linear::{self, Factor, GemmShape, MatrixLayout, Product, Start};
use crate::loss::{BinaryCrossEntropyWithLogits, PointwiseLoss, Reduction};
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows};
use crate::random::Philox;
use crate::simd::{self, Active, InOut};
use crate::{Activation, Element, Epilogue, Error, RowShape};

/// `c = f(kept · c or bias + a · b)`.
fn multiply<T: Element>(
    shape: GemmShape,
    (a, b): (&[T], &[T]),
    start: Start<'_, T>,
    activation: Option<Activation>,
    scratch: &mut [T],
    c: &mut [T],
) {
    <T as linear::Compiled>::multiply(Product {
        shape,
        alpha: T::one(),
        a,
        b: Factor::Strided(b),
        start,
        epilogue: Epilogue { activation, residual: None },
        scratch,
        c,
    });
}

/// `y = x` with noise.
pub(super) fn corrupt<T: Element>(corruption: Corruption, stream: Philox, data: InOut<'_, T>) {
    let active = Active::current();
    let data = Offset { first: 0, data };
    parallel::for_each(data, PARALLEL_BLOCK / 4, |Offset { first, data }| {
        simd::dispatch(active, Corrupt { corruption, stream, first: first as u64, data });
    });
}

impl Autoencoder {
    /// x·Wᵀ, also dy·Wᵀ.
    fn encoder_shape(&self, rows: usize) -> GemmShape {
        let b = MatrixLayout::transposed(self.inputs, self.hidden);
        GemmShape { b, ..GemmShape::dense(rows, self.hidden, self.inputs) }
    }

    /// h·W.
    fn tied_shape(&self, rows: usize) -> GemmShape {
        GemmShape::dense(rows, self.inputs, self.hidden)
    }

    /// h·Dᵀ.
    fn decoder_shape(&self, rows: usize) -> GemmShape {
        let b = MatrixLayout::transposed(self.hidden, self.inputs);
        GemmShape { b, ..self.tied_shape(rows) }
    }

    /// dy·D.
    fn decoder_backward_shape(&self, rows: usize) -> GemmShape {
        GemmShape::dense(rows, self.hidden, self.inputs)
    }

    /// dzᵀ·x, also hᵀ·dy.
    fn weights_shape(&self, rows: usize) -> GemmShape {
        let a = MatrixLayout::transposed(self.hidden, rows);
        GemmShape { a, ..GemmShape::dense(self.hidden, self.inputs, rows) }
    }

    /// dyᵀ·h.
    fn decoder_weights_shape(&self, rows: usize) -> GemmShape {
        let a = MatrixLayout::transposed(self.inputs, rows);
        GemmShape { a, ..GemmShape::dense(self.inputs, self.hidden, rows) }
    }

    /// Elements of scratch that every product of so many rows has room in.
    pub(super) fn products_len<T: Element>(&self, rows: usize) -> usize {
        let shapes = [
            self.encoder_shape(rows),
            self.tied_shape(rows),
            self.decoder_shape(rows),
            self.decoder_backward_shape(rows),
            self.weights_shape(rows),
            self.decoder_weights_shape(rows),
        ];
        shapes.into_iter().map(|shape| shape.scratch_len::<T>()).max().unwrap_or(0)
    }

    /// Whether outputs are logits, and what makes outputs of what they are given else.
    fn output_activation(&self) -> Option<Activation> {
        match self.reconstruction {
            Reconstruction::CrossEntropy => Some(Activation::Sigmoid),
            Reconstruction::SquaredError { activation: Activation::Identity } => None,
            Reconstruction::SquaredError { activation } => Some(activation),
        }
    }
}

/// h = f(x·Wᵀ + b), or z where there is no f.
pub(super) fn encode<T: Element>(
    net: Autoencoder,
    x: &[T],
    weights: AutoencoderWeights<'_, T>,
    activation: Option<Activation>,
    scratch: &mut [T],
    h: &mut [T],
) {
    let (shape, start) = (net.encoder_shape(h.len() / net.hidden), Start::Bias(weights.hidden_bias));
    multiply(shape, (x, weights.weights), start, activation, scratch, h);
}

/// r = g(h·Dᵀ + c), or y where there is no g.
fn decode_with<T: Element>(
    net: Autoencoder,
    h: &[T],
    weights: AutoencoderWeights<'_, T>,
    activation: Option<Activation>,
    scratch: &mut [T],
    r: &mut [T],
) {
    let (rows, start) = (r.len() / net.inputs, Start::Bias(weights.output_bias));
    match weights.decoder {
        Some(decoder) => multiply(net.decoder_shape(rows), (h, decoder), start, activation, scratch, r),
        None => multiply(net.tied_shape(rows), (h, weights.weights), start, activation, scratch, r),
    }
}

/// r = g(h·Dᵀ + c).
pub(super) fn decode<T: Element>(
    net: Autoencoder,
    h: &[T],
    weights: AutoencoderWeights<'_, T>,
    scratch: &mut [T],
    r: &mut [T],
) {
    decode_with(net, h, weights, net.output_activation(), scratch, r);
}

/// A loss of checked arguments, with its gradient where one is asked for.
#[derive(Debug)]
pub struct Call<'a, T> {
    pub(super) net: Autoencoder,
    pub(super) batch: usize,
    pub(super) x: &'a [T],
    pub(super) stream: Philox,
    pub(super) weights: AutoencoderWeights<'a, T>,
    pub(super) scratch: &'a mut [T],
    pub(super) gradient: Option<AutoencoderTensors<'a, T>>,
}

/// Parts of the scratch.
struct Parts<'a, T> {
    corrupted: &'a mut [T],
    z: &'a mut [T],
    h: &'a mut [T],
    dh: &'a mut [T],
    y: &'a mut [T],
    r: &'a mut [T],
    /// ‖Wⱼ‖²
    squares: &'a mut [T],
    /// Σ (h(1 − h))² over the rows.
    slopes: &'a mut [T],
    products: &'a mut [T],
}

impl<'a, T> Parts<'a, T> {
    fn new(net: Autoencoder, batch: usize, scratch: &'a mut [T]) -> Self {
        let (inputs, hidden) = (batch * net.inputs, batch * net.hidden);
        let (corrupted, scratch) = scratch.split_at_mut(inputs);
        let (y, scratch) = scratch.split_at_mut(inputs);
        let (r, scratch) = scratch.split_at_mut(inputs);
        let (z, scratch) = scratch.split_at_mut(hidden);
        let (h, scratch) = scratch.split_at_mut(hidden);
        let (dh, scratch) = scratch.split_at_mut(hidden);
        let (squares, scratch) = scratch.split_at_mut(net.hidden);
        let (slopes, products) = scratch.split_at_mut(net.hidden);
        Self { corrupted, z, h, dh, y, r, squares, slopes, products }
    }
}

pub(super) fn run<T: Element>(call: Call<'_, T>) -> Result<f64, Error> {
    let Call { net, batch, x, stream, weights, scratch, gradient } = call;
    let mut parts = Parts::new(net, batch, scratch);
    corrupt(net.corruption, stream, InOut::new(x, parts.corrupted));
    encode(net, parts.corrupted, weights, None, parts.products, parts.z);
    net.activation.forward(parts.z, parts.h)?;
    decode_with(net, parts.h, weights, None, parts.products, parts.y);
    let mut loss = parts.error(net, batch, x)?;
    if let Some(gradient) = gradient {
        loss += parts.backward(net, batch, weights, gradient)?;
    } else if net.contraction != 0.0 {
        let active = Active::current();
        parallel::for_each(&mut *parts.h, PARALLEL_BLOCK, |h| simd::dispatch(active, Slopes { h }));
        loss += parts.penalty(net, batch, weights);
    }
    Ok(loss)
}

impl<T: Element> Parts<'_, T> {
    /// The mean error of a row's reconstruction; its gradient by y takes the place of y.
    fn error(&mut self, net: Autoencoder, batch: usize, x: &[T]) -> Result<f64, Error> {
        let reduction = Reduction::SumOver(batch as f64);
        match net.reconstruction {
            Reconstruction::CrossEntropy => {
                let shape = RowShape { rows: batch, cols: net.inputs };
                BinaryCrossEntropyWithLogits { reduction }.forward_backward_in_place(shape, x, None, self.y)
            }
            Reconstruction::SquaredError { activation: Activation::Identity } => {
                PointwiseLoss::Squared.forward_backward_in_place(reduction, x, self.y)
            }
            Reconstruction::SquaredError { activation } => {
                activation.forward(self.y, self.r)?;
                let loss = PointwiseLoss::Squared.forward_backward_in_place(reduction, x, self.r)?;
                activation.backward_in_place(self.y, self.r)?;
                self.y.copy_from_slice(self.r);
                Ok(loss)
            }
        }
    }

    /// The penalty of a row, on average, where `h` has become the squared slopes.
    fn penalty(&mut self, net: Autoencoder, batch: usize, weights: AutoencoderWeights<'_, T>) -> f64 {
        self.square(net, weights);
        self.slopes.fill(T::zero());
        <T as linear::Compiled>::column_sums(batch, (self.h, self.slopes.len()), self.slopes, None);
        let terms = self.slopes.iter().zip(&*self.squares);
        let sum: f64 = terms.map(|(&slope, &square)| slope.to_f64() * square.to_f64()).sum();
        net.contraction * sum / batch as f64
    }

    fn square(&mut self, net: Autoencoder, weights: AutoencoderWeights<'_, T>) {
        let active = Active::current();
        let data = (Rows { data: weights.weights, width: net.inputs }, &mut *self.squares);
        parallel::for_each(data, parallel::row_block(net.inputs), |(w, squares)| {
            simd::dispatch(active, RowSquares { w: w.data, squares });
        });
    }

    /// Adds all gradients, from that by y; gives the penalty.
    fn backward(
        &mut self,
        net: Autoencoder,
        batch: usize,
        weights: AutoencoderWeights<'_, T>,
        gradient: AutoencoderTensors<'_, T>,
    ) -> Result<f64, Error> {
        let AutoencoderTensors { weights: dw, decoder: dd, hidden_bias: db, output_bias: dc } = gradient;
        let (added, overwritten) = (Start::Scaled(T::one()), Start::Scaled(T::zero()));
        let (h, y, products) = (&mut *self.h, &*self.y, &mut *self.products);
        <T as linear::Compiled>::column_sums(batch, (y, dc.len()), dc, None);
        match (weights.decoder, dd) {
            (Some(decoder), Some(dd)) => {
                let shape = net.decoder_backward_shape(batch);
                multiply(shape, (y, decoder), overwritten, None, products, self.dh);
                multiply(net.decoder_weights_shape(batch), (y, h), added, None, products, dd);
            }
            _ => {
                multiply(
                    net.encoder_shape(batch),
                    (y, weights.weights),
                    overwritten,
                    None,
                    products,
                    self.dh,
                );
                multiply(net.weights_shape(batch), (h, y), added, None, products, dw);
            }
        }
        net.activation.backward_in_place(self.z, self.dh)?;
        let penalty = if net.contraction == 0.0 { 0.0 } else { self.contract(net, batch, weights, dw) };
        let pair = (&*self.dh, &*self.corrupted);
        multiply(net.weights_shape(batch), pair, added, None, self.products, dw);
        <T as linear::Compiled>::column_sums(batch, (self.dh, db.len()), db, None);
        Ok(penalty)
    }

    /// Adds the penalty's gradient to `dh`, which is that of z, and to `dw`; gives the penalty.
    fn contract(
        &mut self,
        net: Autoencoder,
        batch: usize,
        weights: AutoencoderWeights<'_, T>,
        dw: &mut [T],
    ) -> f64 {
        self.square(net, weights);
        let (active, factor) = (Active::current(), T::from_f64(2.0 * net.contraction / batch as f64));
        let squares = &*self.squares;
        let rows =
            (Rows { data: &mut *self.h, width: net.hidden }, Rows { data: &mut *self.dh, width: net.hidden });
        parallel::for_each(rows, parallel::row_block(net.hidden), |(h, dz)| {
            simd::dispatch(active, Contract { factor, squares, h: h.data, dz: dz.data });
        });
        let penalty = self.penalty(net, batch, weights);
        for slope in self.slopes.iter_mut() {
            *slope = *slope * factor;
        }
        let rows = (
            &*self.slopes,
            Rows { data: weights.weights, width: net.inputs },
            Rows { data: dw, width: net.inputs },
        );
        parallel::for_each(rows, parallel::row_block(net.inputs), |(factors, w, dw)| {
            simd::dispatch(active, AddRows { factors, w: w.data, dw: dw.data });
        });
        penalty
    }
}
