use std::{error, fmt};

/// Why an access token was refused. Each class of bad token has its own.
///
/// Clients learn no more than `invalid_token`; this is for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than 8 KiB.
    TooLong,
    /// Not three segments that are not empty.
    Segments,
    /// A refresh token.
    RefreshToken,
    /// A segment is not base64url in its one form.
    Encoding,
    /// The header is longer than 1 KiB.
    HeaderTooLong,
    /// The header is not a JSON object.
    HeaderJson,
    /// A header parameter has a wrong type.
    HeaderType(&'static str),
    /// The header names a key, a URL, an extension or a compression.
    HeaderParameter(&'static str),
    /// No `alg`.
    MissingAlgorithm,
    /// An `alg` that is not offered, `none` among them.
    Algorithm,
    /// Another `alg` than the key's own.
    AlgorithmMismatch,
    /// Another `typ` than the profile's, or none.
    Type,
    /// A `kid` longer than 128 bytes or with control characters.
    KeyId,
    /// No `kid`, and more than one key.
    MissingKeyId,
    /// No such key.
    UnknownKey,
    /// The key is not valid yet or no longer.
    KeyRetired,
    /// The key was killed.
    KeyKilled,
    /// The signature does not fit.
    Signature,
    /// The payload is not a JSON object, or something follows it.
    PayloadJson,
    /// A member occurs twice, at any level, also where escapes differ.
    Duplicate,
    /// More than 16 levels.
    TooDeep,
    /// A registered claim has a wrong type, such as a number as a string.
    ClaimType(&'static str),
    /// A claim that the profile requires is missing.
    MissingClaim(&'static str),
    /// Another issuer.
    Issuer,
    /// Not meant for this service.
    Audience,
    /// Past `exp` and the leeway.
    Expired,
    /// Before `nbf` less the leeway.
    NotYetValid,
    /// `iat` lies in the future by more than the leeway.
    IssuedInFuture,
    /// `exp` is before `iat`, or further from it than the profile allows.
    Lifetime,
    /// The application's own claims do not fit its type.
    OwnClaims,
    /// The token, its session or its user's sessions were revoked.
    Revoked,
    /// The revocation feed is too old, or was never read: not the token's fault.
    StaleRevocations,
}

impl Refusal {
    /// A short name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Segments => "segments",
            Self::RefreshToken => "refresh_token",
            Self::Encoding => "encoding",
            Self::HeaderTooLong => "header_too_long",
            Self::HeaderJson => "header_json",
            Self::HeaderType(_) => "header_type",
            Self::HeaderParameter(_) => "header_parameter",
            Self::MissingAlgorithm => "missing_algorithm",
            Self::Algorithm => "algorithm",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::Type => "type",
            Self::KeyId => "key_id",
            Self::MissingKeyId => "missing_key_id",
            Self::UnknownKey => "unknown_key",
            Self::KeyRetired => "key_retired",
            Self::KeyKilled => "key_killed",
            Self::Signature => "signature",
            Self::PayloadJson => "payload_json",
            Self::Duplicate => "duplicate",
            Self::TooDeep => "too_deep",
            Self::ClaimType(_) => "claim_type",
            Self::MissingClaim(_) => "missing_claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Lifetime => "lifetime",
            Self::OwnClaims => "own_claims",
            Self::Revoked => "revoked",
            Self::StaleRevocations => "stale_revocations",
        }
    }

    /// Whether the service is at fault rather than the token: 503, not 401.
    pub fn is_unavailable(self) -> bool {
        self == Self::StaleRevocations
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderType(what) | Self::ClaimType(what) => {
                write!(f, "`{what}` has a wrong type")
            }
            Self::HeaderParameter(what) => write!(f, "the header has `{what}`"),
            Self::MissingClaim(what) => write!(f, "`{what}` is missing"),
            Self::StaleRevocations => f.write_str("the revocation feed is too old"),
            other => write!(f, "the token is refused: {}", other.name()),
        }
    }
}

impl error::Error for Refusal {}
