//! Any lines of `Date`. What holds of them is in `src/http/checks`.

#![no_main]

use cache_aside::http::checks::dates;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dates(data));
