//! Any bytes into the facade's decoder `replay`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::replay(bytes);
});
