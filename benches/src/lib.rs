//! The harness: two subjects in interleaved blocks of one run, so that whatever
//! else the machine does falls on both; thread CPU time; medians of ratios, with
//! the ratio of a subject to itself beside them.
#![allow(clippy::print_stdout)]

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod allocations;
mod instructions;
mod pairs;

pub use crate::allocations::{Counting, allocations, live_bytes};
pub use crate::instructions::{answer_count_request, instructions_over, instructions_per_op};
pub use crate::pairs::{Comparison, compare, compare_blocks, scaling};
