//! What is asked of a store, and what it answers.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, rand};

use crate::encoding;
use crate::error::Error;

/// The id of a session: of a refresh token's family, and `sid` in its access
/// tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    pub(crate) fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| Error::store("no random numbers"))?;
        Ok(Self(bytes))
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that `sid` writes like this.
    pub fn parse(text: &str) -> Option<Self> {
        encoding::decode_exactly(text).map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::encode(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionRef {
    /// Its id.
    pub id: SessionId,
    /// The part of the store that holds it: [`Store::bucket`](crate::Store::bucket).
    pub bucket: u16,
}

/// What the store keeps of a refresh token or a retry key: SHA-256, with what it
/// belongs to. It is compared in constant time, and lets nobody in.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of these bytes, as a store has kept it.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// A session that begins.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id and its place.
    pub session: SessionRef,
    /// The user.
    pub user: String,
    /// The OAuth client.
    pub client: String,
    /// The granted scope.
    pub scope: String,
    /// The application's claims, a JSON object.
    pub grant: String,
    /// What the user calls the device.
    pub device: String,
    /// Of the first token.
    pub hash: TokenHash,
    /// How long it lasts; no rotation extends that.
    pub absolute: Duration,
    /// How long it lasts without a rotation.
    pub idle: Duration,
}

/// A session that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// The absolute expiry.
    pub expires_ms: u64,
    /// The user's epoch.
    pub user_epoch: u64,
}

/// What a session is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The user.
    pub user: String,
    /// The OAuth client.
    pub client: String,
    /// The granted scope.
    pub scope: String,
    /// The application's claims at login, a JSON object.
    pub grant: String,
    /// What the user calls the device.
    pub device: String,
}

/// What the winner of a rotation writes.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Of the successor.
    pub hash: TokenHash,
    /// From which, with the token before it, the successor is computed again.
    pub nonce: [u8; 32],
    /// The server key that it is computed with.
    pub key_id: [u8; 4],
}

/// A presented refresh token, and what is to happen if it wins.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// Whose it is.
    pub session: SessionRef,
    /// Which it is, from 0.
    pub generation: u32,
    /// Its hash.
    pub hash: TokenHash,
    /// The successor.
    pub next: Proposal,
    /// The hash of the client's retry key.
    pub retry: Option<TokenHash>,
    /// How long the token before the current one is answered.
    pub grace: Duration,
    /// How long it is with its retry key.
    pub retry_window: Duration,
    /// How often.
    pub most_replays: u32,
    /// How long the session then lasts without a rotation.
    pub idle: Duration,
    /// How long a revocation is published.
    pub publish_for: Duration,
}

/// What became of a presented token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was the current one: its successor is current now.
    Rotated(Created),
    /// It is the current one, and too young to be replaced.
    Kept(Created),
    /// It is the one before; its successor was made with this.
    Replayed {
        /// Dates and epoch.
        at: Created,
        /// The winner's.
        nonce: [u8; 32],
        /// The winner's.
        key_id: [u8; 4],
    },
    /// There is no such session.
    Unknown,
    /// It was revoked before.
    Revoked,
    /// It has expired.
    Expired,
    /// It is the one before, and was presented too often.
    TooManyReplays,
    /// The retry key belongs to another token.
    RetryKeyReused,
    /// It is the current one or the one before by its number, and not by its
    /// hash: the store has lost a write. Revoked now.
    Forked,
    /// It was used up before: revoked now.
    Reuse,
    /// It is newer than the row: the store has lost writes.
    Ahead,
}

/// What is to be revoked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Revoke {
    /// One session.
    Session(SessionRef),
    /// All sessions of a user, those under way among them.
    User(String),
    /// All sessions of a user but this one.
    Others {
        /// The user.
        user: String,
        /// The one that stays.
        keep: SessionId,
    },
    /// One access token, until it expires.
    Token {
        /// Its `jti`.
        token_id: String,
    },
    /// A signing key, for good.
    Key {
        /// Its `kid`.
        kid: String,
    },
}

/// An entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// A session.
    Session {
        /// Its id.
        session: SessionId,
        /// Until when its access tokens could be valid.
        until_ms: u64,
    },
    /// A user's sessions of before this epoch.
    User {
        /// The user.
        user: String,
        /// The least epoch that is good.
        epoch: u64,
        /// Until when earlier ones' access tokens could be valid.
        until_ms: u64,
    },
    /// One access token.
    Token {
        /// Its `jti`.
        token_id: String,
        /// Until when it could be valid.
        until_ms: u64,
    },
    /// A signing key, for good.
    Key {
        /// Its `kid`.
        kid: String,
    },
}

/// A part of the feed.
#[derive(Clone, Debug)]
pub struct Feed {
    /// What was revoked.
    pub entries: Vec<Revocation>,
    /// Where to go on.
    pub cursor: Cursor,
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// When the last heartbeat was written, in the store's time: of the part
    /// whose last is oldest. 0 where one has none.
    pub heartbeat_ms: u64,
}

/// Where a reader of the feed is, in the store's own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) Box<str>);

impl Cursor {
    /// For an adapter.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// For an adapter.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A session in a list for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The OAuth client.
    pub client: String,
    /// What the user calls the device.
    pub device: String,
    /// When it began, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last rotated.
    pub last_seen_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
}
