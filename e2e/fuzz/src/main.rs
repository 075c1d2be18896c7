//! Plays what libFuzzer makes up. `FUZZ_TARGET` names what reads it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<String> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| std::env::var("FUZZ_TARGET").unwrap_or_default());
    assert!(archfan::fuzz::play(target, bytes), "FUZZ_TARGET is {target:?}, which is no target");
});
