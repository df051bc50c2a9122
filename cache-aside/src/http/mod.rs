//! A shared HTTP cache as a tower layer: RFC 9111, and what belongs to it.

mod age;
mod block;
mod body;
mod conditional;
mod content;
mod directives;
mod field;
mod groups;
mod lifetime;
mod marks;
mod range;
mod reuse;
mod status;
mod storable;
mod stream;
mod target;
mod update;
mod vary;
