#![no_main]

#[path = "../../tests/fuzz/random.rs"]
mod random;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| random::run(data));
