#![no_main]

#[path = "../../tests/fuzz/optim.rs"]
mod optim;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| optim::run(data));
