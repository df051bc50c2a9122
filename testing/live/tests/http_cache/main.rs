//! `HttpCacheLayer` through real sockets, by the sections of RFC 9111 and of what belongs to
//! it. `cache-aside/docs/rfc9111.md` names these tests.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod attacks;
mod collapsing;
mod freshness;
mod hostile;
mod invalidating;
mod partial;
mod reuse;
mod selecting;
mod storing;
mod support;
mod validation;
