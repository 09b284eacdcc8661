//! Any bytes into the facade's decoder `discovery_greeting`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::discovery_greeting(bytes);
});
