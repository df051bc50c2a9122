//! Session guarantees, checked over two app processes that share only cookies.
//!
//! Each session has a cookie jar, a flow of reads, and a flow of writes on each
//! process, all at the same time. A read takes both of the session's registers
//! and a global one, which a writer beside them bumps, in one snapshot.

mod app;
mod faults;
mod history;
mod jar;
mod run;
mod scenarios;
