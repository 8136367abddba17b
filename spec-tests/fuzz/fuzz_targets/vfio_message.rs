//! The vfio-user framing and state machine, fed with bytes. What must hold is in `vfio::testing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| vfio::testing::fuzz_entry(input));
