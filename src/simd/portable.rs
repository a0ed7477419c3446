//! The level of every target: `wide` picks SSE2, NEON, WebAssembly SIMD or scalar code when it is compiled.

use wide::{f32x16, f64x8, u32x16, u64x8};

use super::{Isa, Level, Mask, Vector, Words, operators};

/// The proof of nothing: this level runs everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Isa for Portable {
    type F32 = F32x16;
    type F64 = F64x8;
    type Words = Words64x8;
    const LEVEL: Level = Level::Portable;

    #[inline(always)]
    fn widen(self, x: F32x16) -> [F64x8; 2] {
        let lanes = x.0.to_array();
        let mut halves = [[0.0; 8]; 2];
        for lane in 0..8 {
            halves[0][lane] = f64::from(lanes[lane]);
            halves[1][lane] = f64::from(lanes[lane + 8]);
        }
        [F64x8(f64x8::new(halves[0])), F64x8(f64x8::new(halves[1]))]
    }

    #[inline(always)]
    fn narrow(self, x: [F64x8; 2]) -> F32x16 {
        let (low, high) = (x[0].0.to_array(), x[1].0.to_array());
        let mut lanes = [0.0; 16];
        for lane in 0..8 {
            lanes[lane] = low[lane] as f32;
            lanes[lane + 8] = high[lane] as f32;
        }
        F32x16(f32x16::new(lanes))
    }

    #[inline(always)]
    fn prefetch<T>(self, _address: *const T) {}

    #[inline(always)]
    fn prefetch_far<T>(self, _address: *const T) {}

    #[inline(always)]
    fn fence(self) {}
}

/// A vector over one type of `wide`: only names, widths and constants differ between `f32` and `f64`.
macro_rules! portable_vector {
    ($(#[$doc:meta])* $Vector:ident, $Mask:ident, $Elem:ident, $Wide:ident, $Bits:ident, $lanes:literal,
     mantissa $mantissa:literal, low $low:literal, bias $bias:literal, two_thirds $two_thirds:literal,
     two_to_mantissa $two_to_mantissa:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $Vector($Wide);

        /// All bits of a lane set or clear.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $Mask($Wide);

        impl $Vector {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self(self.0 * other.0)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                Self(self.0 / other.0)
            }
            #[inline(always)]
            fn negate(self) -> Self {
                Self(self.0 ^ $Wide::splat(-0.0))
            }
        }

        operators!($Vector, $Elem);

        impl Vector for $Vector {
            type Elem = $Elem;
            type Isa = Portable;
            type Mask = $Mask;
            const LANES: usize = $lanes;
            const UNIT_EXPONENT: $Elem = 1.5 * $two_to_mantissa + $bias as $Elem;

            #[inline(always)]
            fn isa(self) -> Portable {
                Portable
            }
            #[inline(always)]
            fn new(_isa: Portable, value: $Elem) -> Self {
                Self($Wide::splat(value))
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                Self(self.0.mul_add(b.0, c.0))
            }
            #[inline(always)]
            fn mul_sub(self, b: Self, c: Self) -> Self {
                Self(self.0.mul_sub(b.0, c.0))
            }
            #[inline(always)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                Self(self.0.mul_neg_add(b.0, c.0))
            }
            // Dekker, *A floating-point technique for extending the available precision*, 1971.
            #[inline(always)]
            fn mul_add_exact(self, b: Self, c: Self) -> Self {
                let (high, b_high) = (self.clear_low(), b.clear_low());
                let (low, b_low) = (self - high, b - b_high);
                let product = self * b;
                let lost = ((high * b_high - product) + high * b_low + low * b_high) + low * b_low;
                (product + c) + lost
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Self(self.0.sqrt())
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0 & !$Wide::splat(-0.0))
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                Self(self.abs().0 | (sign.0 & $Wide::splat(-0.0)))
            }
            #[inline(always)]
            fn round(self) -> Self {
                // Adding 2^mantissa pushes the fraction out, rounded to even; larger lanes are integers already.
                let magnitude = self.abs();
                let rounded = (magnitude + $two_to_mantissa) - $two_to_mantissa;
                let small = magnitude.lt(self.splat($two_to_mantissa));
                small.select(rounded.copysign(self), self)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                self.lt(other).select(self, other)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                other.lt(self).select(self, other)
            }
            #[inline(always)]
            fn lt(self, other: Self) -> $Mask {
                $Mask(self.0.simd_lt(other.0))
            }
            #[inline(always)]
            fn le(self, other: Self) -> $Mask {
                $Mask(self.0.simd_le(other.0))
            }
            #[inline(always)]
            fn eq(self, other: Self) -> $Mask {
                $Mask(self.0.simd_eq(other.0))
            }
            #[inline(always)]
            fn is_nan(self) -> $Mask {
                $Mask(!self.0.simd_eq(self.0))
            }
            #[inline(always)]
            fn into_exponent(self) -> Self {
                Self($Wide::from_bits(self.0.to_bits() << $mantissa as u32))
            }
            #[inline(always)]
            fn ldexp(self, n: Self) -> Self {
                // Two normal powers: the first product is exact, the second rounds once, to a subnormal too.
                let first = (n * 0.5).round();
                self * first.pow2() * (n - first).pow2()
            }
            #[inline(always)]
            fn split_exponent(self) -> (Self, Self) {
                // Offset by bias + 1, so that a logical shift serves, and made a number under 2^mantissa.
                let bits = self.0.to_bits();
                let two_thirds = $Bits::splat($two_thirds.wrapping_sub(($bias + 1) << $mantissa));
                let offset = (bits - two_thirds) >> $mantissa as u32;
                let number = Self($Wide::from_bits(offset | $Wide::splat($two_to_mantissa).to_bits()));
                let exponent = number - ($two_to_mantissa + ($bias + 1) as $Elem);
                let shifted = (offset - $Bits::splat($bias + 1)) << $mantissa as u32;
                (Self($Wide::from_bits(bits - shifted)), exponent)
            }
            #[inline(always)]
            fn clear_low(self) -> Self {
                Self($Wide::from_bits(self.0.to_bits() & $Bits::splat(!$low)))
            }

            #[inline(always)]
            unsafe fn load(_isa: Portable, from: *const $Elem) -> Self {
                // SAFETY: the caller gives as many readable elements as there are lanes.
                Self($Wide::new(unsafe { from.cast::<[$Elem; $lanes]>().read_unaligned() }))
            }
            #[inline(always)]
            unsafe fn load_partial(_isa: Portable, from: *const $Elem, len: usize) -> Self {
                let mut lanes = [0.0; $lanes];
                // SAFETY: the caller gives `len` readable elements, no more than there are lanes.
                unsafe { lanes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
                Self($Wide::new(lanes))
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $Elem) {
                // SAFETY: the caller gives as many writable elements as there are lanes.
                unsafe { to.cast::<[$Elem; $lanes]>().write_unaligned(self.0.to_array()) };
            }
            #[inline(always)]
            unsafe fn store_partial(self, to: *mut $Elem, len: usize) {
                let lanes = self.0.to_array();
                // SAFETY: the caller gives `len` writable elements, no more than there are lanes.
                unsafe { to.copy_from_nonoverlapping(lanes.as_ptr(), len) };
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut $Elem) {
                // SAFETY: the caller gives as many writable elements as there are lanes.
                unsafe { self.store(to) };
            }
        }

        impl Mask<$Vector> for $Mask {
            #[inline(always)]
            fn select(self, if_true: $Vector, if_false: $Vector) -> $Vector {
                $Vector(self.0.bitselect(if_true.0, if_false.0))
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
            #[inline(always)]
            fn not(self) -> Self {
                Self(!self.0)
            }
            #[inline(always)]
            fn any(self) -> bool {
                self.0.any()
            }
            #[inline(always)]
            fn all(self) -> bool {
                self.0.all()
            }
        }
    };
}

portable_vector!(
    /// Sixteen `f32`.
    F32x16, Mask32, f32, f32x16, u32x16, 16,
    mantissa 23, low 0xfff, bias 127, two_thirds 0x3f2a_aaab_u32, two_to_mantissa 8_388_608.0
);
portable_vector!(
    /// Eight `f64`.
    F64x8, Mask64, f64, f64x8, u64x8, 8,
    mantissa 52, low 0x7ff_ffff, bias 1023, two_thirds 0x3fe5_5555_5555_5555_u64,
    two_to_mantissa 4_503_599_627_370_496.0
);

/// Eight words in lanes of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words64x8([u64; 8]);

impl Words for Words64x8 {
    type Isa = Portable;

    #[inline(always)]
    fn new(_isa: Portable, value: u32) -> Self {
        Self([u64::from(value); 8])
    }
    #[inline(always)]
    fn from_array(_isa: Portable, words: [u32; 8]) -> Self {
        Self(words.map(u64::from))
    }
    #[inline(always)]
    fn multiply(mut self, other: Self) -> Self {
        for lane in 0..8 {
            // Compilers know this as the product of 32-bit lanes that SSE2 and NEON have.
            self.0[lane] = (self.0[lane] & 0xffff_ffff) * (other.0[lane] & 0xffff_ffff);
        }
        self
    }
    #[inline(always)]
    fn high(mut self) -> Self {
        for lane in 0..8 {
            self.0[lane] >>= 32;
        }
        self
    }
    #[inline(always)]
    fn xor(mut self, other: Self) -> Self {
        for lane in 0..8 {
            self.0[lane] ^= other.0[lane];
        }
        self
    }
    #[inline(always)]
    fn below(self, bound: u32) -> Mask64 {
        let mut lanes = [0.0; 8];
        for lane in 0..8 {
            lanes[lane] = f64::from_bits(if (self.0[lane] as u32) < bound { u64::MAX } else { 0 });
        }
        Mask64(f64x8::new(lanes))
    }
    #[inline(always)]
    fn below_interleaved(even: Self, odd: Self, bound: u32) -> Mask32 {
        let words = Self::interleave(even, odd);
        let mut lanes = [0.0; 16];
        for lane in 0..16 {
            lanes[lane] = f32::from_bits(if words[lane] < bound { u32::MAX } else { 0 });
        }
        Mask32(f32x16::new(lanes))
    }
    #[inline(always)]
    fn interleave(even: Self, odd: Self) -> [u32; 16] {
        let mut words = [0; 16];
        for lane in 0..8 {
            (words[2 * lane], words[2 * lane + 1]) = (even.0[lane] as u32, odd.0[lane] as u32);
        }
        words
    }
}
