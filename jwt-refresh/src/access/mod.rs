//! Access tokens: strict verification.

mod builder;
mod claims;
mod header;
mod live;
mod profile;
mod refusal;
mod segments;
mod typed;
mod verified;
mod verifier;

pub use self::builder::VerifierBuilder;
pub(crate) use self::builder::{check_leeway, check_stale_after};
pub(crate) use self::claims::REGISTERED;
pub(crate) use self::live::LiveSet;
pub use self::profile::{KeySource, Profile};
pub use self::refusal::Refusal;
pub use self::typed::TypedVerifier;
pub use self::verified::{NoClaims, Verified};
pub use self::verifier::Verifier;
pub(crate) use self::verifier::VerifierSettings;
