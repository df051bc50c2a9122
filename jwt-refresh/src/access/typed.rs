use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::digest;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;
use super::verified::Verified;
use super::verifier::{LONGEST, Verifier};

/// How many verified tokens are remembered by default.
const ENTRIES: usize = 10_000;

/// A [`Verifier`] that knows the type of the application's claims, and remembers
/// tokens that it has verified.
///
/// Only tokens of asymmetric keys are remembered, after all checks, under the
/// SHA-256 of the whole token. Each hit checks the dates, the revocations and the
/// key set again. There is no memory of bad tokens: a list of those, by hash or
/// signature, would not hold, since an ES256 signature can be changed into
/// another one that verifies.
pub struct TypedVerifier<C> {
    shared: Arc<Shared<C>>,
}

type Remembered<C> =
    Cache<Digest, Arc<Verified<C>>, UnitWeighter, BuildHasherDefault<FirstBytes>>;

struct Shared<C> {
    verifier: Verifier,
    cache: Option<Remembered<C>>,
}

impl<C: DeserializeOwned> TypedVerifier<C> {
    pub(super) fn new(verifier: Verifier, entries: Option<usize>) -> Self {
        let entries = entries.unwrap_or(ENTRIES);
        let cache = (entries > 0).then(|| {
            Cache::with(
                entries,
                entries as u64,
                UnitWeighter,
                BuildHasherDefault::default(),
                quick_cache::sync::DefaultLifecycle::default(),
            )
        });
        Self { shared: Arc::new(Shared { verifier, cache }) }
    }

    /// What the token says, if it is good.
    ///
    /// A key that is not there yet is not waited for: see
    /// [`verify_waiting`](Self::verify_waiting).
    ///
    /// # Errors
    ///
    /// Why it is refused.
    #[inline]
    pub fn verify(&self, token: &str) -> Result<Arc<Verified<C>>, Refusal> {
        let verdict = self.verdict(token);
        self.shared.verifier.count(verdict.as_ref().err());
        verdict
    }

    #[inline]
    fn verdict(&self, token: &str) -> Result<Arc<Verified<C>>, Refusal> {
        let Shared { verifier, cache } = &*self.shared;
        let Some(cache) = cache.as_ref().filter(|_| verifier.remembers()) else {
            return verifier.verify_cold(token).map(Arc::new);
        };
        if token.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let digest = Digest::of(token);
        if let Some(verified) = cache.get(&digest)
            && let Some(verdict) = verifier.recall(&*verified)
        {
            return verdict.map(|()| verified);
        }
        let verified = Arc::new(verifier.verify_cold(token)?);
        if verifier.may_remember(&verified) {
            cache.insert(digest, Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// As [`verify`](Self::verify), but first fetches a remote key set where it
    /// lacks the token's key or is old, within its limits.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a fetch that is given up counts against the limit.
    pub async fn verify_waiting(&self, token: &str) -> Result<Arc<Verified<C>>, Refusal> {
        let verifier = &self.shared.verifier;
        if verifier.has_remote() && verifier.remote_is_due() {
            verifier.fetch_keys(token).await;
        }
        let mut verdict = self.verdict(token);
        if verifier.has_remote() && matches!(verdict, Err(Refusal::UnknownKey)) {
            verifier.fetch_keys(token).await;
            verdict = self.verdict(token);
        }
        verifier.count(verdict.as_ref().err());
        verdict
    }

    /// The verdict, where it needs no waiting.
    pub(crate) fn verify_at_once(
        &self,
        token: &str,
    ) -> Option<Result<Arc<Verified<C>>, Refusal>> {
        let verifier = &self.shared.verifier;
        if !verifier.has_remote() {
            return Some(self.verify(token));
        }
        if verifier.remote_is_due() {
            return None;
        }
        let verdict = self.verdict(token);
        if matches!(verdict, Err(Refusal::UnknownKey)) {
            return None;
        }
        verifier.count(verdict.as_ref().err());
        Some(verdict)
    }

    /// The verifier below.
    pub fn verifier(&self) -> &Verifier {
        &self.shared.verifier
    }
}

impl<C> Clone for TypedVerifier<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for TypedVerifier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedVerifier")
            .field("verifier", &self.shared.verifier)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
struct Digest([u8; 32]);

impl Digest {
    #[inline]
    fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl Hash for Digest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let first = self.0.first_chunk::<8>().expect("a digest has 32 bytes");
        state.write_u64(u64::from_le_bytes(*first));
    }
}

/// A digest is a hash already, and only good tokens get into the table.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    #[inline]
    fn write_u64(&mut self, first: u64) {
        self.0 = first;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a digest hashes as one number")
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
