//! Issuers on a clock that stands still, and tokens made by hand.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_refresh::{
    AuditEvent, AuditKind, AuditSink, Issuer, IssuerBuilder, ManualClock, MemoryStore,
    NoClaims, RefreshKeys, SigningKey, SigningKeys, TypedVerifier,
};

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "https://api.example";
pub(crate) const START_MS: u64 = 1_800_000_000_000;
pub(crate) const START: u64 = START_MS / 1_000;

/// 32 bytes that look random.
pub(crate) fn key(seed: u8) -> [u8; 32] {
    std::array::from_fn(|at| {
        seed.wrapping_mul(97).wrapping_add((at as u8).wrapping_mul(37)) ^ 0x5C
    })
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Remembers the kinds of events.
#[derive(Clone, Default)]
pub(crate) struct Audit(Arc<Mutex<Vec<AuditKind>>>);

impl Audit {
    pub(crate) fn count(&self, kind: AuditKind) -> usize {
        self.0.lock().unwrap().iter().filter(|has| **has == kind).count()
    }

    pub(crate) fn last(&self) -> Option<AuditKind> {
        self.0.lock().unwrap().last().copied()
    }
}

impl AuditSink for Audit {
    fn record(&self, event: &AuditEvent<'_>) {
        self.0.lock().unwrap().push(event.kind);
    }
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) audit: Audit,
    pub(crate) issuer: Issuer,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(change: impl FnOnce(IssuerBuilder) -> IssuerBuilder) -> Self {
        Self::signed_by(SigningKeys::new(SigningKey::generate().unwrap()).unwrap(), change)
            .await
    }

    pub(crate) async fn signed_by(
        keys: SigningKeys,
        change: impl FnOnce(IssuerBuilder) -> IssuerBuilder,
    ) -> Self {
        let clock = ManualClock::at(START_MS);
        let store = MemoryStore::with_clock(clock.clone());
        let audit = Audit::default();
        let builder = Issuer::builder(ISSUER, AUDIENCE)
            .keys(keys)
            .refresh_keys(RefreshKeys::new(key(1)).unwrap())
            .store(store.clone())
            .audit(audit.clone())
            .clock(clock.clone());
        let issuer = change(builder).build().unwrap();
        issuer.verifier().ready().await;
        Self { clock, store, audit, issuer }
    }

    pub(crate) fn verifier(&self) -> TypedVerifier<NoClaims> {
        self.issuer.verifier().typed()
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
}
