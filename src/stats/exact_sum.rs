//! A sum whose bits do not depend on the order of its terms: fixed-point digits below the largest term.
//!
//! Demmel & Nguyen, "Parallel reproducible summation", 2015: the digits of every term lie on one grid, each digit is added
//! without a carry, and what is below the window of the largest term is left out of all terms alike.

/// Digits of the window: 256 bits. The largest term ends in the first three, so what is left out is below 2⁻¹⁶⁰ of it.
const DIGITS: usize = 8;

/// Bits of a digit. Of 64, so that 2³² of them add up without a carry.
const DIGIT_BITS: i64 = 32;

/// Words that hold a sum.
pub(super) const WORDS: usize = DIGITS + 1;

/// Bits of an `f64`'s stored mantissa.
const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;

/// A sum of up to 2³² non-negative numbers, of any exponents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExactSum {
    /// Sums of digits, the least significant first.
    digits: [u64; DIGITS],
    /// Number of the last digit, whose weight is `2^(32·top)`: the highest that any term reached.
    top: i64,
}

impl ExactSum {
    pub(super) const ZERO: Self = Self { digits: [0; DIGITS], top: i64::MIN / 4 };

    /// Number of the first digit.
    fn bottom(&self) -> i64 {
        self.top - (DIGITS as i64 - 1)
    }

    /// Adds `value · 2^exponent`; `value` is finite and not negative, the exponent below 2⁶².
    #[inline]
    pub(super) fn add(&mut self, value: f64, exponent: i64) {
        let bits = value.to_bits();
        let biased = (bits >> MANTISSA_BITS) as i64;
        let fraction = bits & ((1 << MANTISSA_BITS) - 1);
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << MANTISSA_BITS };
        if mantissa == 0 {
            return;
        }
        let position = biased.max(1) - 1075 + exponent;
        let shifted = u128::from(mantissa) << position.rem_euclid(DIGIT_BITS);
        let lowest = position.div_euclid(DIGIT_BITS);
        self.raise(lowest + 2);
        for k in 0..3 {
            self.add_digit(lowest + k, (shifted >> (DIGIT_BITS * k)) as u32 as u64);
        }
    }

    /// Moves the window up to a last digit, and leaves what is below it.
    #[inline]
    fn raise(&mut self, top: i64) {
        if top <= self.top {
            return;
        }
        let left = usize::try_from(top - self.top).map_or(DIGITS, |places| places.min(DIGITS));
        self.digits.copy_within(left.., 0);
        self.digits[DIGITS - left..].fill(0);
        self.top = top;
    }

    /// Adds to the digit of a number, if that is within the window.
    #[inline]
    fn add_digit(&mut self, number: i64, amount: u64) {
        let place = usize::try_from(number - self.bottom()).ok().and_then(|place| self.digits.get_mut(place));
        if let Some(digit) = place {
            *digit = digit.saturating_add(amount);
        }
    }

    /// Adds all terms of another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        self.raise(other.top);
        for (number, &digit) in (other.bottom()..).zip(&other.digits) {
            self.add_digit(number, digit);
        }
    }

    /// `(m, e)` with the sum equal to `m · 2^e`, `m` rounded to the nearest and `e` even.
    pub(super) fn rounded(&self) -> (f64, i64) {
        // With room for the carries of the last digit.
        let mut digits = [0_u64; DIGITS + 1];
        let mut carry = 0;
        for (digit, sum) in digits.iter_mut().zip(self.digits.iter().chain([&0])) {
            let sum = u128::from(*sum) + carry;
            *digit = sum as u32 as u64;
            carry = sum >> DIGIT_BITS;
        }
        let Some(highest) = digits.iter().rposition(|&digit| digit != 0) else { return (0.0, 0) };
        // The first 97 bits or more.
        let mut leading = (0..4).fold(0_u128, |leading, k| {
            let digit = highest.checked_sub(k).map_or(0, |place| digits[place]);
            leading << DIGIT_BITS | u128::from(digit)
        });
        // What is below can only break a tie.
        let below = highest.saturating_sub(3);
        if digits[..below].iter().any(|&digit| digit != 0) {
            leading |= 1;
        }
        (leading as f64, DIGIT_BITS * (self.bottom() + highest as i64 - 3))
    }

    pub(super) fn to_words(self) -> [u64; WORDS] {
        let mut words = [self.top as u64; WORDS];
        words[1..].copy_from_slice(&self.digits);
        words
    }

    /// The sum that [`to_words`](Self::to_words) was called on; `None` where 2³¹ more terms might not fit it.
    pub(super) fn from_words(words: &[u64]) -> Option<Self> {
        let (&top, digits) = words.split_first()?;
        let (top, digits) = (top as i64, <[u64; DIGITS]>::try_from(digits).ok()?);
        let sum = Self { digits, top };
        let fits = digits.iter().all(|&digit| digit < 1 << 63) && top.unsigned_abs() < 1 << 57;
        (fits || sum == Self::ZERO).then_some(sum)
    }
}

/// `value · 2^exponent`, where the exponent is within thrice the range of `f64`.
pub(crate) fn scale_by_power(value: f64, exponent: i32) -> f64 {
    let power = |n: i32| f64::from_bits(((1023 + n) as u64) << MANTISSA_BITS);
    let half = (exponent / 2).clamp(-1022, 1023);
    let rest = exponent - half;
    let third = rest.clamp(-1022, 1023);
    value * power(half) * power(third) * power((rest - third).clamp(-1022, 1023))
}

/// `(m, e)` with `value` equal to `m · 2^e` and `m` in [1, 2), for a positive finite value.
fn split(value: f64) -> (f64, i64) {
    let (mantissa, exponent, _) = num_traits::Float::integer_decode(value);
    let above = 63 - i64::from(mantissa.leading_zeros());
    (mantissa as f64 / (1_u64 << above) as f64, i64::from(exponent) + above)
}

/// `2^(high + low)` as `(m, e)` with `m` in [1, 2), without the rounding of the sum.
fn power_of_two(high: f64, low: f64) -> (f64, i64) {
    let whole = libm::floor(high);
    let part = (high - whole) + low;
    let more = libm::floor(part);
    (libm::exp2(part - more), (whole + more) as i64)
}

/// `valueᵖ` as `(m, e)`: `m · 2^e`, for a positive finite value.
pub(super) fn raised(value: f64, p: f64) -> (f64, i64) {
    let (m, e) = split(value);
    let exponent = e as f64;
    let high = p * exponent;
    power_of_two(high, libm::fma(p, exponent, -high) + p * libm::log2(m))
}

/// `(value · 2^exponent)^(1/p)` as `(m, e)`: `m · 2^e`.
pub(super) fn root((value, exponent): (f64, i64), p: f64) -> (f64, i64) {
    if value == 0.0 {
        return (0.0, 0);
    }
    let (m, e) = split(value);
    let exponent = (exponent + e) as f64;
    let high = exponent / p;
    power_of_two(high, libm::fma(-high, p, exponent) / p + libm::log2(m) / p)
}
