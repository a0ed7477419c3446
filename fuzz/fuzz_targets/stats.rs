#![no_main]

#[path = "../../tests/fuzz/stats.rs"]
mod stats;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stats::run(data));
