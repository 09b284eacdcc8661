//! Any bytes into the facade's decoder `discovery_datagram`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::discovery_datagram(bytes);
});
