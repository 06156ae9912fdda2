//! Any bytes at all through the decoder: no panic, no hang, no unbounded memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spotscale_vision::image::{Limits, decode_to_tensor};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { pixels_max: 1 << 20, alloc_bytes_max: 64 << 20 };
    if let Ok(tensor) = decode_to_tensor(bytes, &limits) {
        assert!(tensor.as_slice().iter().all(|value| value.is_finite()));
    }
});
