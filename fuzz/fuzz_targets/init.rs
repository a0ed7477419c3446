#![no_main]

#[path = "../../tests/fuzz/init.rs"]
mod init;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| init::run(data));
