use aws_lc_rs::digest;

use crate::encoding;

/// A token id or a session id in 16 bytes.
pub(crate) type Id = [u8; 16];

/// The ids by which a token may be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) token: Option<Id>,
    pub(crate) session: Option<Id>,
}

impl Ids {
    pub(crate) fn of(token: Option<&str>, session: Option<&str>) -> Self {
        Self { token: token.map(id), session: session.map(id) }
    }
}

/// Our own ids are 16 random bytes, and are taken as they are; of others' the
/// first half of their SHA-256. That the two meet takes 2^64 ids.
pub(crate) fn id(text: &str) -> Id {
    encoding::decode_exactly(text).unwrap_or_else(|| {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let own = encoding::encode(&[7; 16]);
        assert_eq!(id(&own), [7; 16]);
        assert_ne!(id("a"), id("b"));
        assert_ne!(id("urn:uuid:1"), id("urn:uuid:2"));
    }
}
