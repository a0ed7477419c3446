//! A sum without rounding, as one long fixed-point number: the order of its terms cannot matter.
//!
//! Kulisch & Miranker, "The arithmetic of the digital computer", 1986: a register as wide as the range of products.

/// Bits below the binary point: the last bit of the smallest square is 2⁻²¹⁴⁸, of a scaled block's sum 2⁻²²⁰⁰. Even
/// and a multiple of 64, so that every word's weight has a root.
const FRACTION_BITS: i32 = 35 * 64;

/// Words of the number: a block of squares of the largest `f64` is below 2²⁰⁷², and 2⁶⁴ of them fit.
pub(super) const WORDS: usize = 70;

/// Bits of an `f64`'s stored mantissa.
const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;

/// A sum of non-negative numbers, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExactSum {
    /// The least significant first.
    pub(super) words: [u64; WORDS],
}

impl ExactSum {
    pub(super) const ZERO: Self = Self { words: [0; WORDS] };

    /// Adds `value · 2^exponent`, which is within the range of squares of `f64`; `value` is finite and not negative.
    #[inline]
    pub(super) fn add(&mut self, value: f64, exponent: i32) {
        let bits = value.to_bits();
        let biased = (bits >> MANTISSA_BITS) as i32;
        let fraction = bits & ((1 << MANTISSA_BITS) - 1);
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << MANTISSA_BITS };
        let position = (biased.max(1) - 1075 + exponent + FRACTION_BITS) as usize;
        let shifted = u128::from(mantissa) << (position % 64);
        let word = position / 64;
        let carry;
        (self.words[word], carry) = self.words[word].overflowing_add(shifted as u64);
        self.add_word(word + 1, (shifted >> 64) as u64 + u64::from(carry));
    }

    /// Adds `amount` to a word, and the carry to those above.
    #[inline]
    fn add_word(&mut self, word: usize, mut amount: u64) {
        for word in &mut self.words[word..] {
            if amount == 0 {
                return;
            }
            let carry;
            (*word, carry) = word.overflowing_add(amount);
            amount = u64::from(carry);
        }
    }

    /// Whether 2⁴⁰ such sums and more can be merged; those of 2⁶⁴ blocks have none of the highest word.
    pub(super) fn has_room(&self) -> bool {
        self.words[WORDS - 1] == 0
    }

    /// Adds all terms of another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut carry = 0;
        for (word, &other) in self.words.iter_mut().zip(&other.words) {
            let sum = u128::from(*word) + u128::from(other) + carry;
            (*word, carry) = (sum as u64, sum >> 64);
        }
    }

    /// `(m, e)` with the sum equal to `m · 2^e`, `m` rounded to the nearest and `e` even.
    pub(super) fn rounded(&self) -> (f64, i32) {
        let Some(top) = self.words.iter().rposition(|&word| word != 0) else { return (0.0, 0) };
        let low = top.saturating_sub(1);
        let mut leading = u128::from(self.words[top]) << 64 | u128::from(self.words[low]);
        if top == 0 {
            leading >>= 64;
        }
        // What is below can only break a tie.
        if self.words[..low].iter().any(|&word| word != 0) {
            leading |= 1;
        }
        (leading as f64, 64 * low as i32 - FRACTION_BITS)
    }
}

/// `value · 2^exponent`, where the exponent is within twice the range of `f64`.
pub(crate) fn scale_by_power(value: f64, exponent: i32) -> f64 {
    let power = |n: i32| f64::from_bits(((1023 + n) as u64) << MANTISSA_BITS);
    let half = (exponent / 2).clamp(-1022, 1023);
    let rest = exponent - half;
    let third = rest.clamp(-1022, 1023);
    value * power(half) * power(third) * power((rest - third).clamp(-1022, 1023))
}
