//! Access tokens: strict verification.

mod claims;
mod header;
mod live;
mod profile;
mod refusal;
mod typed;
mod verified;
mod verifier;

pub(crate) use self::claims::REGISTERED;
pub(crate) use self::live::LiveSet;
pub use self::profile::{KeySource, Profile};
pub use self::refusal::Refusal;
pub use self::typed::TypedVerifier;
pub use self::verified::{NoClaims, Verified};
pub use self::verifier::{Verifier, VerifierBuilder};
pub(crate) use self::verifier::{VerifierSettings, check_leeway, check_stale_after};
