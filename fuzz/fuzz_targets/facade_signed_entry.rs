//! Any bytes into the facade's decoder `signed_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::signed_entry(bytes);
});
