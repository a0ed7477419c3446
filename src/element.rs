//! [`Element`]: the two types every kernel serves.

use core::fmt::Debug;

use num_traits::Float;

use crate::math::Math;
use crate::simd::{Isa, Mask, StoreInto, Vector, Words, splat};

/// `f32` or `f64`; sealed, since kernels are compiled for these two.
pub trait Element: Float + Debug + Default + Send + Sync + Math + compiled::Kernels + 'static {
    /// The vector of an instruction set with lanes of this type.
    #[doc(hidden)]
    type Vector<I: Isa>: Vector<Elem = Self, Isa = I>;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;

    /// Thirty-two elements as four vectors of `f64`; `f32` fills and reads only the first two inputs.
    #[doc(hidden)]
    fn widen<I: Isa>(isa: I, x: [Self::Vector<I>; 4]) -> [I::F64; 4];

    /// The place in a run of sixteen of each lane of two vectors of words, as [`choose`](Element::choose) wants them.
    #[doc(hidden)]
    const PLACES: [[u32; 8]; 2];
    /// Sixteen choices, one a word: `below` where it is less than `bound`, else `other`.
    #[doc(hidden)]
    fn choose<I: Isa>(isa: I, words: [I::Words; 2], bound: u32, below: Self, other: Self, to: &mut [Self]);
}

impl Element for f32 {
    type Vector<I: Isa> = I::F32;
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn widen<I: Isa>(isa: I, [first, second, ..]: [I::F32; 4]) -> [I::F64; 4] {
        let ([a, b], [c, d]) = (isa.widen(first), isa.widen(second));
        [a, b, c, d]
    }

    const PLACES: [[u32; 8]; 2] = [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]];
    #[inline(always)]
    fn choose<I: Isa>(
        isa: I,
        [even, odd]: [I::Words; 2],
        bound: u32,
        below: f32,
        other: f32,
        to: &mut [f32],
    ) {
        let mask = Words::below_interleaved(even, odd, bound);
        mask.select(splat(isa, below), splat(isa, other)).store_into(to);
    }
}

impl Element for f64 {
    type Vector<I: Isa> = I::F64;
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn widen<I: Isa>(_isa: I, x: [I::F64; 4]) -> [I::F64; 4] {
        x
    }

    const PLACES: [[u32; 8]; 2] = [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]];
    #[inline(always)]
    fn choose<I: Isa>(isa: I, words: [I::Words; 2], bound: u32, below: f64, other: f64, to: &mut [f64]) {
        let (low, high) = to.split_at_mut(8);
        for (words, to) in words.into_iter().zip([low, high]) {
            words.below(bound).select(splat(isa, below), splat(isa, other)).store_into(to);
        }
    }
}

/// What makes generic public functions compile once: each family's kernels as methods of `f32` and `f64`.
pub(crate) mod compiled {
    /// Every family's compiled kernels; also what seals [`Element`](super::Element).
    pub trait Kernels:
        crate::activation::Compiled
        + crate::activation::prelu::Compiled
        + crate::clip::adaptive::Compiled
        + crate::clip::clip_norm::Compiled
        + crate::clip::clip_value::Compiled
        + crate::clip::per_sample::Compiled
        + crate::diagnostics::observe::Compiled
        + crate::loss::binary_cross_entropy_with_logits::Compiled
        + crate::loss::cross_entropy::Compiled
        + crate::loss::negative_log_likelihood::Compiled
        + crate::loss::pointwise::Compiled
        + crate::loss::softmax::Compiled
        + crate::init::Compiled
        + crate::math::Compiled
        + crate::norm::group_norm::Compiled
        + crate::norm::layer_norm::Compiled
        + crate::norm::rms_norm::Compiled
        + crate::norm::spectral_norm::Compiled
        + crate::norm::weight_norm::Compiled
        + crate::optim::adadelta::Compiled
        + crate::optim::adagrad::Compiled
        + crate::optim::adam::Compiled
        + crate::optim::lamb::Compiled
        + crate::optim::lars::Compiled
        + crate::optim::lion::Compiled
        + crate::optim::nadam::Compiled
        + crate::optim::radam::Compiled
        + crate::optim::rms_prop::Compiled
        + crate::norm::batch_norm::Compiled
        + crate::optim::sgd::Compiled
        + crate::pretrain::autoencoder::Compiled
        + crate::pretrain::rbm::Compiled
        + crate::recurrent::gru::Compiled
        + crate::recurrent::layer_norm_lstm::Compiled
        + crate::recurrent::lstm::Compiled
        + crate::recurrent::rnn::Compiled
        + crate::recurrent::zoneout::Compiled
        + crate::stats::moments::Compiled
        + crate::regularize::dropout::Compiled
        + crate::regularize::group_lasso::Compiled
        + crate::regularize::max_norm::Compiled
        + crate::regularize::orthogonality::Compiled
        + crate::regularize::penalty::Compiled
        + crate::regularize::proximal::Compiled
        + crate::residual::add::Compiled
        + crate::residual::highway::Compiled
        + crate::residual::scaled::Compiled
        + crate::residual::stochastic_depth::Compiled
        + crate::stats::norm_partial::Compiled
        + crate::linear::Compiled
    {
    }
    impl Kernels for f32 {}
    impl Kernels for f64 {}
}

/// Declares a trait whose methods are generic functions compiled here, once for `f32` and once for `f64`.
///
/// A generic public function is compiled in the caller's crate, at the caller's optimisation level and anew in
/// every test binary. So public functions check their arguments and hand over to such a method, whose body is not
/// generic and not inlined.
macro_rules! compiled_once {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $Type:ty),* $(,)?) $(-> $Output:ty)? = $function:path;)*) => {
        /// This family's kernels, compiled in this crate.
        #[doc(hidden)]
        pub trait Compiled: Sized {
            $($(#[$doc])* fn $name($($argument: $Type),*) $(-> $Output)?;)*
        }
        impl Compiled for f32 {
            $(#[inline(never)] fn $name($($argument: $Type),*) $(-> $Output)? { $function($($argument),*) })*
        }
        impl Compiled for f64 {
            $(#[inline(never)] fn $name($($argument: $Type),*) $(-> $Output)? { $function($($argument),*) })*
        }
    };
}
pub(crate) use compiled_once;
