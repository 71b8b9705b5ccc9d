//! Whatever is uploaded is compiled or refused: neither the parser, nor the validator, nor the
//! compiler panics on it.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// How each component begins: the magic number, version 13, layer 1.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

fuzz_target!(|data: &[u8]| {
    let _ = purlin_runtime::compile(data);
    let _ = purlin_runtime::compile(&[PREAMBLE, data].concat());
});
