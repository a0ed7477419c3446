#![no_main]

#[path = "../../tests/fuzz/diagnostics.rs"]
mod diagnostics;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| diagnostics::run(data));
