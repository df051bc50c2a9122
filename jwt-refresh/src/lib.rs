//! Access tokens that any server verifies without a look-up, refresh tokens that
//! survive a lost response, and revocation that every server knows at once.

#![forbid(unsafe_code)]

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
