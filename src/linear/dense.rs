//! [`Dense`]: the fully connected layer.

use super::gemm::check_dense;
use super::{Compiled, Factor, GemmShape, MatrixLayout, PackedMatrix, Product, Start};
use crate::diagnostics::{LayerFlow, Magnitude};
use crate::shape::{check_at_least, check_len, check_range};
use crate::stats::NormPartial;
use crate::{Element, Epilogue, Error, GradientMode};

/// A fully connected layer, `PyTorch`'s `Linear`.
///
/// ```text
/// y = f(x·Wᵀ + b + residual)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dense {
    /// Elements of a row of x.
    pub inputs: usize,
    /// Elements of a row of y.
    pub outputs: usize,
}

/// Parameters of a [`Dense`] layer.
#[derive(Clone, Copy, Debug)]
pub struct DenseWeights<'a, T> {
    /// W: `outputs` rows of `inputs` elements.
    pub weights: &'a [T],
    /// b: `outputs` elements, or none for a layer without bias.
    pub bias: Option<&'a [T]>,
}

/// The gradients that [`Dense::backward`] shall compute; what is `None` costs nothing.
#[derive(Debug)]
pub struct DenseGradients<'a, T> {
    /// dx: `batch · inputs` elements, overwritten.
    pub input: Option<&'a mut [T]>,
    /// dW: `outputs · inputs` elements, accumulated or overwritten as `mode` says.
    pub weights: Option<&'a mut [T]>,
    /// db: `outputs` elements, as dW.
    pub bias: Option<&'a mut [T]>,
    /// What becomes of what dW and db hold; they are accumulated by default.
    pub mode: GradientMode,
}

impl<T> Default for DenseGradients<'_, T> {
    fn default() -> Self {
        Self { input: None, weights: None, bias: None, mode: GradientMode::default() }
    }
}

impl Dense {
    /// `y = f(x·Wᵀ + b + residual)`.
    ///
    /// | argument             | elements                    | access                                   |
    /// |----------------------|-----------------------------|------------------------------------------|
    /// | `x`                  | `batch · inputs`            | read                                     |
    /// | `parameters.weights` | `outputs · inputs`          | read                                     |
    /// | `parameters.bias`    | `outputs`                   | read                                     |
    /// | `epilogue.residual`  | `batch · outputs`           | read                                     |
    /// | `scratch`            | at least [`forward_scratch_len`](Self::forward_scratch_len) | overwritten |
    /// | `y`                  | `batch · outputs`           | overwritten                              |
    ///
    /// Each output is one chain of fused multiply-adds that starts at the bias and goes through the inputs in order, so
    /// a batch has the bits of its rows alone.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::OutOfRange`] the
    /// activation's parameter that is, [`Error::Overflow`] a product that does not fit in `usize`; then nothing was
    /// written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::linear::{Dense, DenseWeights};
    /// use steadygrad::{Activation, Epilogue};
    ///
    /// let layer = Dense { inputs: 2, outputs: 2 };
    /// let parameters = DenseWeights { weights: &[1.0_f32, 2.0, -3.0, 4.0], bias: Some(&[0.5, -2.0]) };
    /// let relu = Epilogue { activation: Some(Activation::Relu), ..Epilogue::default() };
    /// let mut scratch = vec![0.0; layer.forward_scratch_len::<f32>(1)];
    /// let mut y = [f32::NAN; 2];
    /// layer.forward(1, &[1.0, 1.0], parameters, relu, &mut scratch, &mut y)?;
    /// assert_eq!(y, [3.5, 0.0]); // 1 + 2 + 0.5; max(−3 + 4 − 2, 0)
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn forward<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        parameters: DenseWeights<'_, T>,
        epilogue: Epilogue<'_, T>,
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        let DenseWeights { weights, bias } = parameters;
        check_dense("weights", weights.len(), self.outputs, self.inputs)?;
        self.run(batch, x, (Factor::Strided(weights), bias), epilogue, scratch, y)
    }

    /// [`forward`](Self::forward) with weights from [`pack`](Self::pack). The same bits.
    ///
    /// | argument            | elements          | access                                                       |
    /// |---------------------|-------------------|--------------------------------------------------------------|
    /// | `weights`           | packed            | read: first of the pair                                      |
    /// | `bias`              | `outputs`         | read: second of the pair                                     |
    /// | the others          |                   | as [`forward`](Self::forward)                                |
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::OutOfRange`] where `weights` is not `inputs` by `outputs`.
    pub fn forward_packed<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        (weights, bias): (&PackedMatrix<T>, Option<&[T]>),
        epilogue: Epilogue<'_, T>,
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        check_range(
            "weights",
            "packed as `inputs` by `outputs`",
            weights.k() == self.inputs && weights.n() == self.outputs,
        )?;
        self.run(batch, x, (Factor::Packed(weights), bias), epilogue, scratch, y)
    }

    /// The weights as [`forward_packed`](Self::forward_packed) takes them; after a step,
    /// [`PackedMatrix::repack`] with [`forward_layout`](Self::forward_layout) takes the new ones.
    ///
    /// # Errors
    /// As [`PackedMatrix::new`], and [`Error::Length`] where `weights` does not have `outputs · inputs` elements.
    pub fn pack<T: Element>(&self, weights: &[T]) -> Result<PackedMatrix<T>, Error> {
        check_dense("weights", weights.len(), self.outputs, self.inputs)?;
        PackedMatrix::new(self.inputs, self.outputs, self.forward_layout(), weights)
    }

    /// How the weights hold Wᵀ.
    #[must_use]
    pub fn forward_layout(&self) -> MatrixLayout {
        MatrixLayout::transposed(self.inputs, self.outputs)
    }

    /// Elements that `scratch` of [`forward`](Self::forward) needs at least.
    #[must_use]
    pub fn forward_scratch_len<T: Element>(&self, batch: usize) -> usize {
        self.forward_shape(batch).scratch_len::<T>()
    }

    /// Elements that `scratch` of [`backward`](Self::backward) needs at least.
    #[must_use]
    pub fn backward_scratch_len<T: Element>(&self, batch: usize) -> usize {
        self.input_shape(batch).scratch_len::<T>().max(self.weights_shape(batch).scratch_len::<T>())
    }

    /// `dx = dy·W`, `dW += dyᵀ·x`, `db += Σ dy` over the batch; `=` for all three with [`GradientMode::Overwrite`].
    ///
    /// | argument            | elements           | access                                                     |
    /// |---------------------|--------------------|------------------------------------------------------------|
    /// | `x`                 | `batch · inputs`   | read: the input of the forward                             |
    /// | `dy`                | `batch · outputs`  | read: the gradient of x·Wᵀ + b                             |
    /// | `weights`           | `outputs · inputs` | read                                                       |
    /// | `scratch`           | at least [`backward_scratch_len`](Self::backward_scratch_len) | overwritten     |
    /// | `gradients.input`   | `batch · inputs`   | overwritten                                                |
    /// | `gradients.weights` | `outputs · inputs` | accumulated or overwritten, one chain of fused multiply-adds over the batch |
    /// | `gradients.bias`    | `outputs`          | as the weights', summed in `f64` and rounded once          |
    ///
    /// Where the forward had an activation, its backward comes first: [`Activation::backward`](crate::Activation::backward)
    /// makes the `dy` of this function, which is also the gradient of the residual.
    ///
    /// # Errors
    /// [`Error::Length`] names the first argument whose length differs from the table, [`Error::Overflow`] a product
    /// that does not fit in `usize`; then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::linear::{Dense, DenseGradients};
    ///
    /// let layer = Dense { inputs: 2, outputs: 1 };
    /// let (x, dy, weights) = ([1.0_f64, 2.0], [10.0], [3.0, 4.0]);
    /// let mut scratch = vec![0.0; layer.backward_scratch_len::<f64>(1)];
    /// let (mut dx, mut dw, mut db) = ([f64::NAN; 2], [0.0; 2], [1.0]);
    /// let gradients =
    ///     DenseGradients { input: Some(&mut dx), weights: Some(&mut dw), bias: Some(&mut db), ..Default::default() };
    /// layer.backward(1, &x, &dy, &weights, &mut scratch, gradients)?;
    /// assert_eq!((dx, dw, db), ([30.0, 40.0], [10.0, 20.0], [11.0]));
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn backward<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        dy: &[T],
        weights: &[T],
        scratch: &mut [T],
        gradients: DenseGradients<'_, T>,
    ) -> Result<(), Error> {
        self.check_backward(batch, [x, dy, weights], scratch, &gradients)?;
        let bias = self.products(batch, [x, dy, weights], scratch, gradients);
        if let Some(db) = bias {
            <T as Compiled>::column_sums(batch, (dy, self.outputs), db, None);
        }
        Ok(())
    }

    /// [`backward`](Self::backward), which also measures `dy`, the gradient at the layer's sums. The same gradients, to the
    /// bit.
    ///
    /// | argument   | access                                |
    /// |------------|---------------------------------------|
    /// | `flow`     | its `gradient` is overwritten         |
    /// | the others | as [`backward`](Self::backward)       |
    ///
    /// `dy` is measured where its columns are summed for the bias; without a bias by a read of its own. The gradient of the
    /// weights is measured by the step that reads it:
    /// [`Optimizer::step_observed`](crate::optim::Optimizer::step_observed).
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    ///
    /// # Examples
    /// ```
    /// use steadygrad::diagnostics::LayerFlow;
    /// use steadygrad::linear::{Dense, DenseGradients};
    ///
    /// let (layer, mut flow) = (Dense { inputs: 2, outputs: 2 }, LayerFlow::default());
    /// let (mut dw, mut db) = ([0.0_f64; 4], [0.0; 2]);
    /// let mut scratch = vec![0.0; layer.backward_scratch_len::<f64>(1)];
    /// let gradients = DenseGradients { weights: Some(&mut dw), bias: Some(&mut db), ..Default::default() };
    /// layer.backward_observed(1, &[1.0, 2.0], &[3.0, 4.0], &[1.0; 4], &mut scratch, gradients, &mut flow)?;
    /// assert_eq!((dw, db), ([3.0, 6.0, 4.0, 8.0], [3.0, 4.0]));
    /// assert_eq!(flow.gradient.unwrap().norm, 5.0);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    #[expect(
        clippy::too_many_arguments,
        reason = "the arguments of `backward` and where the measurements go"
    )]
    pub fn backward_observed<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        dy: &[T],
        weights: &[T],
        scratch: &mut [T],
        gradients: DenseGradients<'_, T>,
        flow: &mut LayerFlow,
    ) -> Result<(), Error> {
        self.check_backward(batch, [x, dy, weights], scratch, &gradients)?;
        let bias = self.products(batch, [x, dy, weights], scratch, gradients);
        flow.gradient = Some(match bias {
            Some(db) => {
                let mut norm = NormPartial::NOTHING;
                <T as Compiled>::column_sums_and_norm(batch, dy, db, &mut norm);
                Magnitude::measured(&norm, dy)
            }
            None => Magnitude::of(dy),
        });
        Ok(())
    }

    fn check_backward<T: Element>(
        &self,
        batch: usize,
        [x, dy, weights]: [&[T]; 3],
        scratch: &[T],
        gradients: &DenseGradients<'_, T>,
    ) -> Result<(), Error> {
        check_dense("x", x.len(), batch, self.inputs)?;
        check_dense("dy", dy.len(), batch, self.outputs)?;
        check_dense("weights", weights.len(), self.outputs, self.inputs)?;
        check_at_least("scratch", scratch.len(), self.backward_scratch_len::<T>(batch))?;
        if let Some(dx) = &gradients.input {
            check_dense("gradients.input", dx.len(), batch, self.inputs)?;
        }
        if let Some(dw) = &gradients.weights {
            check_dense("gradients.weights", dw.len(), self.outputs, self.inputs)?;
        }
        gradients.bias.as_ref().map_or(Ok(()), |db| check_len("gradients.bias", db.len(), self.outputs))
    }

    /// `dx = dy·W` and `dW += dyᵀ·x`, where they are asked for; returns the gradient of the bias, ready to accumulate.
    fn products<'a, T: Element>(
        &self,
        batch: usize,
        [x, dy, weights]: [&[T]; 3],
        scratch: &mut [T],
        DenseGradients { input, weights: dw, mut bias, mode }: DenseGradients<'a, T>,
    ) -> Option<&'a mut [T]> {
        if let Some(dx) = input {
            multiply(self.input_shape(batch), (dy, weights), T::zero(), scratch, dx);
        }
        if let Some(dw) = dw {
            multiply(self.weights_shape(batch), (dy, x), mode.start(), scratch, dw);
        }
        mode.prepare(bias.as_deref_mut());
        bias
    }

    fn run<T: Element>(
        &self,
        batch: usize,
        x: &[T],
        (b, bias): (Factor<'_, T>, Option<&[T]>),
        epilogue: Epilogue<'_, T>,
        scratch: &mut [T],
        y: &mut [T],
    ) -> Result<(), Error> {
        check_dense("x", x.len(), batch, self.inputs)?;
        if let Some(bias) = bias {
            check_len("bias", bias.len(), self.outputs)?;
        }
        let elements = batch.checked_mul(self.outputs).ok_or(Error::Overflow { argument: "y" })?;
        epilogue.check(elements)?;
        check_at_least("scratch", scratch.len(), self.forward_scratch_len::<T>(batch))?;
        check_len("y", y.len(), elements)?;
        let start = bias.map_or(Start::Scaled(T::zero()), Start::Bias);
        let shape = self.forward_shape(batch);
        <T as Compiled>::multiply(Product {
            shape,
            alpha: T::one(),
            a: x,
            b,
            start,
            epilogue,
            scratch,
            c: y,
        });
        Ok(())
    }

    /// y = x·Wᵀ.
    fn forward_shape(&self, batch: usize) -> GemmShape {
        GemmShape { b: self.forward_layout(), ..GemmShape::dense(batch, self.outputs, self.inputs) }
    }

    /// dx = dy·W.
    fn input_shape(&self, batch: usize) -> GemmShape {
        GemmShape::dense(batch, self.inputs, self.outputs)
    }

    /// dW = dyᵀ·x.
    fn weights_shape(&self, batch: usize) -> GemmShape {
        let a = MatrixLayout::transposed(self.outputs, batch);
        GemmShape { a, ..GemmShape::dense(self.outputs, self.inputs, batch) }
    }
}

/// `c = a·b + beta·c`.
fn multiply<T: Element>(shape: GemmShape, (a, b): (&[T], &[T]), beta: T, scratch: &mut [T], c: &mut [T]) {
    let (b, start, epilogue) = (Factor::Strided(b), Start::Scaled(beta), Epilogue::default());
    <T as Compiled>::multiply(Product { shape, alpha: T::one(), a, b, start, epilogue, scratch, c });
}
