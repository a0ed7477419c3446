//! Vectors of one logical width, 512 bits, made in three ways; the only `unsafe` code of the crate.
//!
//! A kernel is a type that implements [`Kernel`], written once over [`Isa`] and [`Vector`]; [`dispatch`] enters
//! it with the instruction set of an [`Active`] level. Everything a kernel calls must be `#[inline(always)]`,
//! closures included: a function that is not inlined falls out of the feature set and is compiled for SSE2.

#![allow(unsafe_code, reason = "the instruction sets are reached here and nowhere else")]

mod arrays;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod channels;
#[cfg(target_arch = "x86_64")]
mod intrinsics;
mod level;
mod machine;
mod matrix;
mod portable;
mod products;
mod slices;
mod tile;
mod zip;

use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::Element;

pub(crate) use arrays::{array_from_fn, map_array};
pub(crate) use channels::{
    Fold, STRIP, STRIP_IN_L2, STRIP_RUNS, Slots, Tile, fold_run, map_channels, put, totals_of_channels,
};
pub use level::Level;
pub(crate) use level::{Active, dispatch};
pub(crate) use matrix::{MatrixMut, load_tile, store_tile};
pub(crate) use products::{Products, Source, map_products, sum_products};
pub(crate) use slices::{
    APART_BLOCK, FOLD_BLOCK, InOut, Store, StoreInto, before_lines, combine, edges, fold_apart_f64, fold_f64,
    fold2_f64, inlined, load, load_partial, map, map_ahead, map_memory, map2, map3, max, max_abs, splat,
    update, widen, widen_partial, worth_lines,
};
pub(crate) use tile::{Ahead, Left, Lines, Right, TALLEST, multiply_tile, transpose_block};
pub(crate) use zip::zip;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// The proof that the CPU has an instruction set, and the vectors that come with it.
pub trait Isa: Copy + Send + Sync + 'static {
    /// Sixteen lanes of `f32`.
    type F32: Vector<Elem = f32, Isa = Self>;
    /// Eight lanes of `f64`.
    type F64: Vector<Elem = f64, Isa = Self>;
    /// Eight words of 32 bits with room for their products.
    type Words: Words<Isa = Self>;
    /// The level this proof stands for, for constants that differ by level (tile sizes).
    const LEVEL: Level;

    /// The sixteen lanes as their low and their high half.
    fn widen(self, x: Self::F32) -> [Self::F64; 2];
    /// Two halves rounded to `f32` and joined.
    fn narrow(self, x: [Self::F64; 2]) -> Self::F32;
    /// Asks for the cache line that holds `address`; never faults.
    fn prefetch<T>(self, address: *const T);
    /// As [`prefetch`](Isa::prefetch), into L2 only: for what is not needed soon.
    fn prefetch_far<T>(self, address: *const T);
    /// Orders streaming stores before later stores of this thread.
    fn fence(self);
}

/// A vector of [`LANES`](Vector::LANES) elements: operators act lane by lane, also with one element.
///
/// A vector only comes from an [`Isa`], so it is itself the proof that its instructions exist.
pub trait Vector:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<Self::Elem, Output = Self>
    + Sub<Self::Elem, Output = Self>
    + Mul<Self::Elem, Output = Self>
    + Div<Self::Elem, Output = Self>
{
    /// Type of a lane.
    type Elem: Element;
    /// The instruction set that makes this vector.
    type Isa: Isa;
    /// Result of a comparison.
    type Mask: Mask<Self>;
    /// Number of lanes: 64 bytes' worth.
    const LANES: usize;

    /// The instruction set, proven by this vector's existence.
    fn isa(self) -> Self::Isa;
    /// `value` in every lane.
    fn new(isa: Self::Isa, value: Self::Elem) -> Self;
    /// `value` in every lane; `self` only proves the instruction set.
    #[inline(always)]
    fn splat(self, value: Self::Elem) -> Self {
        Self::new(self.isa(), value)
    }

    /// The nearest element to `value` in every lane.
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        self.splat(Self::Elem::from_f64(value))
    }

    /// `self · b + c`, rounded once (twice on a portable level without FMA).
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self · b − c`, rounded as [`mul_add`](Vector::mul_add).
    fn mul_sub(self, b: Self, c: Self) -> Self;
    /// `c − self · b`, rounded as [`mul_add`](Vector::mul_add).
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// [`mul_add`](Vector::mul_add) of an unrounded product at every level, for a sum that cancels.
    #[inline(always)]
    fn mul_add_exact(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// Magnitude; clears the sign bit of NaN too.
    fn abs(self) -> Self;
    /// Magnitude of `self` with the sign bit of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// Nearest integer, ties to even, the sign of zero kept.
    fn round(self) -> Self;
    /// The smaller; **`other` where either is NaN** (so put the data second where NaN must propagate).
    fn min(self, other: Self) -> Self;
    /// The larger; **`other` where either is NaN** (so put the data second where NaN must propagate).
    fn max(self, other: Self) -> Self;

    /// `self < other`, false where either is NaN.
    fn lt(self, other: Self) -> Self::Mask;
    /// `self ≤ other`, false where either is NaN.
    fn le(self, other: Self) -> Self::Mask;
    /// `self > other`, false where either is NaN.
    #[inline(always)]
    fn gt(self, other: Self) -> Self::Mask {
        other.lt(self)
    }
    /// `self ≥ other`, false where either is NaN.
    #[inline(always)]
    fn ge(self, other: Self) -> Self::Mask {
        other.le(self)
    }
    /// `self == other`, false where either is NaN.
    fn eq(self, other: Self) -> Self::Mask;
    /// True where NaN.
    fn is_nan(self) -> Self::Mask;
    /// `self` limited to `[lowest, highest]`, NaN kept.
    #[inline(always)]
    fn clamp(self, lowest: Self, highest: Self) -> Self {
        highest.min(lowest.max(self))
    }

    /// 1.5·2^(bits of the mantissa) + the exponent's bias: a sum of it and an integer n has the exponent of 2ⁿ as its lowest bits.
    const UNIT_EXPONENT: Self::Elem;
    /// The number whose exponent is the lowest bits of `self`, and whose mantissa is 1.
    fn into_exponent(self) -> Self;
    /// `2^self` for integral lanes whose power is a normal number.
    #[inline(always)]
    fn pow2(self) -> Self {
        (self + Self::UNIT_EXPONENT).into_exponent()
    }
    /// `self · 2^n` for integral `n` of at most twice the exponent range, rounded once, subnormals included.
    fn ldexp(self, n: Self) -> Self;
    /// `(m, e)` with `self = m · 2^e` and `m` in [2/3, 4/3), for positive normal finite lanes.
    fn split_exponent(self) -> (Self, Self);
    /// Clears the low half of the mantissa (12 bits of `f32`, 27 of `f64`), so that products of two such are exact.
    fn clear_low(self) -> Self;
    /// The entry of `table` whose number is the lowest three bits of the biased exponent, for normal lanes: of eight octaves in a
    /// row, each has its own.
    #[inline(always)]
    fn entry_of_octave(self, table: &[Self::Elem; 8]) -> Self {
        let mut lanes = [<Self::Elem as num_traits::Zero>::zero(); MAX_LANES];
        // SAFETY: `lanes` has room for the lanes of every vector type.
        unsafe { self.store(lanes.as_mut_ptr()) };
        for lane in &mut lanes[..Self::LANES] {
            // The lowest three bits of the bias of `f32` are those of `f64`.
            *lane = table[(lane.to_f64().to_bits() >> 52) as usize % 8];
        }
        // SAFETY: as above.
        unsafe { Self::load(self.isa(), lanes.as_ptr()) }
    }

    /// Reads [`LANES`](Vector::LANES) elements.
    ///
    /// # Safety
    /// `from` is valid for reads of `LANES` elements.
    unsafe fn load(isa: Self::Isa, from: *const Self::Elem) -> Self;
    /// Reads `len` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `from` is valid for reads of `len` elements and `len <= LANES`.
    unsafe fn load_partial(isa: Self::Isa, from: *const Self::Elem, len: usize) -> Self;
    /// Writes [`LANES`](Vector::LANES) elements.
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` elements.
    unsafe fn store(self, to: *mut Self::Elem);
    /// Writes the first `len` lanes.
    ///
    /// # Safety
    /// `to` is valid for writes of `len` elements and `len <= LANES`.
    unsafe fn store_partial(self, to: *mut Self::Elem, len: usize);
    /// Writes past the caches; [`Isa::fence`] must follow before another thread reads.
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` elements and aligned to 64 bytes.
    unsafe fn stream(self, to: *mut Self::Elem);
    /// Transposes `rows` rows of `LANES` elements, `stride` apart: `to[k · LANES + row] = from[row · stride + k]`, where
    /// the last row stands in for those that lack.
    ///
    /// # Safety
    /// `rows` is not 0, each row is valid for reads of `LANES` elements, `to` for writes of `LANES · LANES`.
    #[inline(always)]
    unsafe fn transpose(
        _isa: Self::Isa,
        from: *const Self::Elem,
        stride: usize,
        rows: usize,
        to: *mut Self::Elem,
    ) {
        for row in 0..Self::LANES {
            for k in 0..Self::LANES {
                // SAFETY: element `k` of a row that the caller gives.
                let element = unsafe { *from.wrapping_add(row.min(rows - 1) * stride + k) };
                // SAFETY: one of the caller's `LANES · LANES` elements.
                unsafe { *to.wrapping_add(k * Self::LANES + row) = element };
            }
        }
    }

    /// Joins all lanes by one halving tree: lane `i` with lane `i + half`, the same on every level.
    #[inline(always)]
    fn reduce(self, join: impl Fn(Self::Elem, Self::Elem) -> Self::Elem) -> Self::Elem {
        let mut lanes = [<Self::Elem as num_traits::Zero>::zero(); MAX_LANES];
        // SAFETY: `lanes` has room for the lanes of every vector type.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] = join(lanes[lane], lanes[lane + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
    /// Sum of all lanes by the halving tree.
    #[inline(always)]
    fn sum(self) -> Self::Elem {
        self.reduce(
            #[inline(always)]
            |a, b| a + b,
        )
    }
}

/// Eight lanes of 64 bits, each with a word in its low half; what the high half holds does not matter.
///
/// So a product of words needs no room beside it, and its two halves are itself and a shift.
pub trait Words: Copy {
    /// The instruction set that makes them.
    type Isa: Isa;

    /// `value` in every lane.
    fn new(isa: Self::Isa, value: u32) -> Self;
    /// One word a lane.
    fn from_array(isa: Self::Isa, words: [u32; 8]) -> Self;
    /// The product of the words, 64 bits wide: its low half is the word of the result.
    fn multiply(self, other: Self) -> Self;
    /// The high half as the word.
    fn high(self) -> Self;
    /// Bits set in one of both.
    fn xor(self, other: Self) -> Self;
    /// True where the word is below `bound`, unsigned.
    fn below(self, bound: u32) -> <<Self::Isa as Isa>::F64 as Vector>::Mask;
    /// As [`below`](Words::below) for sixteen words: `even` has lanes 0, 2, 4 …, `odd` has 1, 3, 5 ….
    fn below_interleaved(even: Self, odd: Self, bound: u32) -> <<Self::Isa as Isa>::F32 as Vector>::Mask;
    /// Sixteen words in the order of [`below_interleaved`](Words::below_interleaved).
    fn interleave(even: Self, odd: Self) -> [u32; 16];
}

/// Lanes of the widest vector: `f32` in 512 bits.
pub(crate) const MAX_LANES: usize = 16;

/// One bit a lane, from a comparison of vectors `V`.
pub trait Mask<V>: Copy {
    /// `if_true` where set, else `if_false`.
    fn select(self, if_true: V, if_false: V) -> V;
    /// Set where both are.
    fn and(self, other: Self) -> Self;
    /// Set where either is.
    fn or(self, other: Self) -> Self;
    /// Set where this is not.
    fn not(self) -> Self;
    /// Whether any lane is set.
    fn any(self) -> bool;
    /// Whether every lane is set.
    fn all(self) -> bool;
}

/// Vector code for every instruction set: [`dispatch`] calls `run` inside a function that has the features.
pub(crate) trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The code; mark it and all it calls `#[inline(always)]`.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// Implements the arithmetic operators of a vector by its own functions, between vectors and with one element.
macro_rules! operators {
    ($Vector:ident, $Elem:ident) => {
        operators!(@binary $Vector, $Elem, Add, add);
        operators!(@binary $Vector, $Elem, Sub, sub);
        operators!(@binary $Vector, $Elem, Mul, mul);
        operators!(@binary $Vector, $Elem, Div, div);
        impl core::ops::Neg for $Vector {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                $Vector::negate(self)
            }
        }
    };
    (@binary $Vector:ident, $Elem:ident, $Operator:ident, $function:ident) => {
        impl core::ops::$Operator for $Vector {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: Self) -> Self {
                $Vector::$function(self, other)
            }
        }
        impl core::ops::$Operator<$Elem> for $Vector {
            type Output = Self;
            #[inline(always)]
            fn $function(self, other: $Elem) -> Self {
                $Vector::$function(self, self.splat(other))
            }
        }
    };
}
use operators;
