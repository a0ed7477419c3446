#![no_main]

#[path = "../../tests/fuzz/pretrain.rs"]
mod pretrain;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| pretrain::run(data));
