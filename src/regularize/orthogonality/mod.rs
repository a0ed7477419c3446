//! A penalty on weights that are not orthonormal: they neither stretch nor shrink what goes through them.
//!
//! Bansal, Chen & Wang, "Can we gain more from orthogonality regularizations in training deep networks?", 2018 (soft
//! orthogonality). Two products by [`Gemm`], of the smaller Gram matrix.

mod kernel;
pub mod reference;

use super::check_coefficient;
use crate::element::compiled_once;
use crate::linear::{Gemm, GemmShape, MatrixLayout};
use crate::parallel::{self, Offset, PARALLEL_BLOCK, Rows};
use crate::shape::check_len;
use crate::simd::{self, Active};
use crate::{Element, Error, WeightShape};

/// `λ·‖G − I‖²_F`, where W has a row of `fan_in` weights a unit, and G is `W·Wᵀ`, or `WᵀW` where there are more units than
/// that.
///
/// The smaller G is the one that can be the identity. The penalty by the other differs by the constant λ·|`outputs` −
/// `fan_in`| and has the same gradient. Products are chains in the element type, the sum of squares is `f64`.
///
/// # Examples
/// ```
/// use steadygrad::{WeightShape, regularize::Orthogonality};
///
/// let penalty = Orthogonality { lambda: 0.5 };
/// let shape = WeightShape { outputs: 1, inputs: 2, field: 1 };
/// let (mut scratch, mut grad) = (vec![0.0; penalty.scratch_len::<f64>(shape)?], [0.0; 2]);
/// let value = penalty.add_gradient(shape, &[1.0, 1.0], &mut scratch, &mut grad)?;
/// assert_eq!((value, grad), (0.5, [2.0, 2.0])); // ½·(2 − 1)², 4·½·(2 − 1)·w
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orthogonality {
    /// λ, at least 0 and finite in the element type, four times it too; 0 by default.
    pub lambda: f64,
}

impl Orthogonality {
    /// Elements that `scratch` needs at least: the Gram matrix and what the products need.
    ///
    /// # Errors
    /// [`Error::Overflow`] where a product of dimensions does not fit in `usize`.
    pub fn scratch_len<T: Element>(&self, shape: WeightShape) -> Result<usize, Error> {
        let products = Products::new(shape)?;
        let gemm = products.gram.scratch_len::<T>().max(products.gradient.scratch_len::<T>());
        products.elements.checked_add(gemm).ok_or(Error::Overflow { argument: "shape" })
    }

    /// `λ·‖G − I‖²`.
    ///
    /// | argument  | elements                     | access      |
    /// |-----------|------------------------------|-------------|
    /// | `weights` | `outputs · fan_in`           | read        |
    /// | `scratch` | at least `scratch_len`       | overwritten |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where λ is, [`Error::Length`] for a slice that does not fit, [`Error::Overflow`] where the
    /// product of a shape does; then nothing was written.
    pub fn value<T: Element>(
        &self,
        shape: WeightShape,
        weights: &[T],
        scratch: &mut [T],
    ) -> Result<f64, Error> {
        self.check(shape, weights, scratch)?;
        if self.lambda == 0.0 || weights.is_empty() {
            return Ok(0.0);
        }
        let (sum, ..) = Products::new(shape)?.deviation(weights, scratch)?;
        Ok(self.lambda * sum)
    }

    /// `grad += 4λ·(G − I)·W`, or `4λ·W·(G − I)`, and the value.
    ///
    /// | argument  | elements                     | access      |
    /// |-----------|------------------------------|-------------|
    /// | `weights` | `outputs · fan_in`           | read        |
    /// | `scratch` | at least `scratch_len`       | overwritten |
    /// | `grad`    | `outputs · fan_in`           | accumulated |
    ///
    /// # Errors
    /// As [`value`](Self::value), for `grad` too.
    pub fn add_gradient<T: Element>(
        &self,
        shape: WeightShape,
        weights: &[T],
        scratch: &mut [T],
        grad: &mut [T],
    ) -> Result<f64, Error> {
        self.check(shape, weights, scratch)?;
        check_len("grad", grad.len(), weights.len())?;
        if self.lambda == 0.0 || weights.is_empty() {
            return Ok(0.0);
        }
        let products = Products::new(shape)?;
        let (sum, gram, scratch) = products.deviation(weights, scratch)?;
        let (a, b) = if products.of_rows { (&*gram, weights) } else { (weights, &*gram) };
        let gemm = Gemm { alpha: 4.0 * self.lambda, beta: 1.0 };
        gemm.forward(products.gradient, a, b, scratch, grad)?;
        Ok(self.lambda * sum)
    }

    fn check<T: Element>(&self, shape: WeightShape, weights: &[T], scratch: &[T]) -> Result<(), Error> {
        check_coefficient::<T>("lambda", 4.0 * self.lambda)?;
        check_len("weights", weights.len(), shape.elements()?)?;
        let expected = self.scratch_len::<T>(shape)?;
        if scratch.len() < expected {
            return Err(Error::Length { argument: "scratch", expected, actual: scratch.len() });
        }
        Ok(())
    }
}

/// The two products of a shape.
struct Products {
    /// Whether G is W·Wᵀ.
    of_rows: bool,
    /// Rows of G.
    order: usize,
    /// Elements of G.
    elements: usize,
    gram: GemmShape,
    gradient: GemmShape,
}

impl Products {
    fn new(shape: WeightShape) -> Result<Self, Error> {
        let (rows, cols) = (shape.outputs, shape.fan_in()?);
        let (of_rows, order) = (rows <= cols, rows.min(cols));
        let elements = order.checked_mul(order).ok_or(Error::Overflow { argument: "shape" })?;
        let mut gram = GemmShape::dense(order, order, rows.max(cols));
        if of_rows {
            gram.b = MatrixLayout::transposed(cols, rows);
        } else {
            gram.a = MatrixLayout::transposed(cols, rows);
        }
        Ok(Self { of_rows, order, elements, gram, gradient: GemmShape::dense(rows, cols, order) })
    }

    /// ‖G − I‖², G − I, and the rest of `scratch`.
    fn deviation<'a, T: Element>(
        &self,
        weights: &[T],
        scratch: &'a mut [T],
    ) -> Result<(f64, &'a mut [T], &'a mut [T]), Error> {
        let (gram, rest) = scratch.split_at_mut(self.elements);
        Gemm::default().forward(self.gram, weights, weights, rest, gram)?;
        Ok((<T as Compiled>::deviation(self.order, gram), gram, rest))
    }
}

compiled_once! {
    fn deviation(order: usize, gram: &mut [Self]) -> f64 = deviation_all;
}

fn deviation_all<T: Element>(order: usize, gram: &mut [T]) -> f64 {
    let active = Active::current();
    let whole = Offset { first: 0, data: Rows { data: gram, width: order } };
    let step = |Offset { first, data }: Offset<Rows<&mut [T]>>| {
        simd::dispatch(active, kernel::Deviation { first, order, gram: data.data })
    };
    parallel::reduce(whole, PARALLEL_BLOCK.div_ceil(order), step, |a, b| a + b)
}
