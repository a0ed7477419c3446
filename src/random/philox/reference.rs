//! The generator, one block at a time.

use num_traits::Float;

/// The ten rounds of Philox4x32: four random words of a counter.
#[must_use]
pub fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xd251_1f53;
        let second = u64::from(counter[2]) * 0xcd9e_8d57;
        let high = |product: u64| (product >> 32) as u32;
        let low = |product: u64| product as u32;
        counter =
            [high(second) ^ counter[1] ^ key[0], low(second), high(first) ^ counter[3] ^ key[1], low(first)];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// Word `index` of the stream of `key` and `counter`: one of the four of a block, 16 blocks side by side.
#[must_use]
pub fn word(key: u64, counter: u64, index: u64) -> u32 {
    let block_index = index / 64 * 16 + index % 16;
    let words = |value: u64| [value as u32, (value >> 32) as u32];
    let ([a, b], [c, d]) = (words(block_index), words(counter));
    block([a, b, c, d], words(key))[(index / 16 % 4) as usize]
}

/// Whether an event of probability `p` happens at `index`: its word is below p·2³², rounded; never for 0, always for 1.
#[must_use]
pub fn happens(key: u64, counter: u64, index: u64, p: f64) -> bool {
    p == 1.0 || f64::from(word(key, counter, index)) < Float::round(p * 4_294_967_296.0).min(4_294_967_295.0)
}
