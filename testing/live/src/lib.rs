//! Live tests: see `tests/`.
