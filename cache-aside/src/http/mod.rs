//! A shared HTTP cache as a tower layer: RFC 9111, and what belongs to it.

mod age;
mod directives;
mod field;
mod lifetime;
