//! Where the memory of a batch begins changes no bit of what batch norm makes of it.

use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue};

use super::subject::{Batch, assert_same_results, shape};
use crate::common::{Guarded, each_level};

/// Forward and backward of `x` where its `Vec` lies, at a cache line and at places behind one.
fn same_everywhere<T: Element>(shape: ChannelShape) {
    let (batch, norm) = (Batch::<T>::new(shape), BatchNorm::default());
    let epilogue = Epilogue { residual: Some(&batch.residual), activation: Some(Activation::Relu) };
    each_level(|level| {
        for from_output in [false, true] {
            let expected = batch.run_on(&batch.x, norm, epilogue, from_output);
            for shift in [0, 1, 4, 64 / size_of::<T>() - 1] {
                let mut x = Guarded::<T>::aligned(batch.x.len(), shift);
                x.slice().copy_from_slice(&batch.x);
                let results = batch.run_on(x.checked(), norm, epilogue, from_output);
                assert_same_results(&results, &expected, || format!("{shape:?} at {level}, shift {shift}"));
            }
        }
    });
}

#[test]
fn batch_norm_has_the_same_bits_wherever_memory_begins() {
    // Channels side by side in several strips whose rows begin alike, so that a strip of its own leads to a line; in one strip; in
    // rows that begin anywhere; of more rows than a block of sums; runs.
    for shape in [shape(7, 304, 1), shape(5, 128, 1), shape(6, 301, 1), shape(700, 144, 1), shape(3, 20, 33)]
    {
        same_everywhere::<f32>(shape);
        same_everywhere::<f64>(shape);
    }
}
