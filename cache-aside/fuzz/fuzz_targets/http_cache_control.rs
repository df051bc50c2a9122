//! Any lines of `Cache-Control`, of requests and of responses. What holds of them is in `src/http/checks`.

#![no_main]

use cache_aside::http::checks::cache_control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cache_control(data));
