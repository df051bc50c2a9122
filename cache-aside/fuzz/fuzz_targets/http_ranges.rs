//! Any `Range`, `Content-Range` and `If-Range`. What holds of them is in `src/http/checks`.

#![no_main]

use cache_aside::http::checks::ranges_of;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ranges_of(data));
