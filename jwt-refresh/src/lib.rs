//! Access tokens that any server verifies without a look-up, refresh tokens that
//! survive a lost response, and revocation that every server knows at once.
//!
//! ```
//! use jwt_refresh::{
//!     Issuer, MemoryStore, NoClaims, RefreshKeys, RefreshRequest, SigningKey, SigningKeys, Subject,
//! };
//!
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let random_32_bytes = std::array::from_fn(|_| fastrand::u8(..));
//! let issuer = Issuer::builder("https://id.example", "https://api.example")
//!     .keys(SigningKeys::new(SigningKey::generate()?)?)
//!     .refresh_keys(RefreshKeys::new(random_32_bytes)?)
//!     .store(MemoryStore::new())
//!     .build()?;
//! let verifier = issuer.verifier().typed::<NoClaims>();
//! verifier.verifier().ready().await;
//!
//! let pair = issuer.login(Subject::new("u1").device("Firefox, Linux"), None::<()>).await?;
//! assert_eq!(verifier.verify(pair.access_token().expose())?.subject(), "u1");
//!
//! let next = issuer.refresh(RefreshRequest::new(pair.refresh_token().expose())).await?;
//! issuer.logout_all("u1").await?;
//! assert!(verifier.verify(next.access_token().expose()).is_err());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! For services there are [`BearerLayer`], [`RequireLayer`] and [`TokenService`]. What
//! is guaranteed, and on which conditions, is on [`Issuer::refresh`] and in the README.
//!
//! # Feature flags
//!
//! - `memory` (default): [`MemoryStore`], for one process and for tests.
//! - `redis`: `store::RedisStore`, on a single server or a Cluster.
//! - `postgres`: `store::PostgresStore`.
//! - `remote-jwks`: `HttpsFetch`, which fetches the key sets of other issuers.
//! - `axum`: the extractor `axum::Access`.
//! - `metrics`: counts through the `metrics` facade; the README lists every name.
//! - `conformance`: the test suite for a [`Store`] of one's own.
//! - `test-util`: `ManualClock`, and what benches measure with.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
#[cfg(doctest)]
mod impossible;

mod access;
mod algorithm;
mod audit;
#[cfg(feature = "axum")]
pub mod axum;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod encoding;
mod error;
pub mod http;
mod issuer;
mod json;
mod keys;
mod metrics;
mod refresh;
mod revocation;
mod secret;
pub mod store;

pub use crate::access::{
    KeySource, NoClaims, Profile, Refusal, TypedVerifier, Verified, Verifier, VerifierBuilder,
};
pub use crate::algorithm::Algorithm;
pub use crate::audit::{AuditEvent, AuditKind, AuditSink, TracingAudit};
#[cfg(feature = "test-util")]
pub use crate::clock::ManualClock;
pub use crate::clock::{SystemClock, WallClock};
pub use crate::error::{BuildError, Error};
pub use crate::http::{BearerLayer, RequireLayer, TokenService, Transport};
pub use crate::issuer::{
    ClaimsSource, Decision, Issuer, IssuerBuilder, RefreshRequest, Subject, TokenPair,
};
#[cfg(feature = "remote-jwks")]
pub use crate::keys::HttpsFetch;
pub use crate::keys::{
    BoxSigner, Fetch, FetchError, KeyError, KeySet, KeyState, RemoteJwks, Signer, SigningKey,
    SigningKeys, VerifyingKey,
};
pub use crate::refresh::RefreshKeys;
pub use crate::revocation::{AcceptStale, Revocations};
pub use crate::secret::Secret;
#[cfg(feature = "memory")]
pub use crate::store::MemoryStore;
pub use crate::store::{BoxStore, SessionId, Store};
