//! Keys: which are admitted, what verifies with them, and what signs.

mod admission;
mod error;
#[cfg(feature = "remote-jwks")]
mod fetch;
mod jwk;
mod remote;
mod ring;
mod set;
mod signing;
mod verifying;

pub use self::error::KeyError;
#[cfg(feature = "remote-jwks")]
pub use self::fetch::HttpsFetch;
pub use self::remote::{Fetch, FetchError, RemoteJwks};
pub(crate) use self::ring::JWKS_MAX_AGE;
pub use self::ring::{KeyState, SigningKeys};
pub(crate) use self::set::Key;
pub use self::set::KeySet;
pub use self::signing::{BoxSigner, Signer, SigningKey};
pub(crate) use self::verifying::LONGEST_KID;
pub use self::verifying::VerifyingKey;
