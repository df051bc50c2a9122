//! Any `CDN-Cache-Control` and `Cache-Groups`. What holds of them is in `src/http/checks`.

#![no_main]

use cache_aside::http::checks::structured_fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| structured_fields(data));
