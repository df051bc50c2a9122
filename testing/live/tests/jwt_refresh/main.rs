//! `jwt-refresh` on a real Redis, a Redis Cluster and a PostgreSQL, whose servers
//! and whose network fail.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "wall time is what is measured here")]

mod bed;
mod faults;
mod feed;
mod stores;
