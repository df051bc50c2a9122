//! Measures the crates of this workspace against what a user would pick instead.
