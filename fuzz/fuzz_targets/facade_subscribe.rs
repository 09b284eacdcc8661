//! Any bytes into the facade's decoder `subscribe`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::subscribe(bytes);
});
