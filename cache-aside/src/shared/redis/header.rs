//! What stands before the body of each record in Redis.

use std::time::Duration;

use super::session::Identity;
use crate::shared::{Found, Lease, Reading, Record, RecordId, Unusable};

/// Raised whenever the layout changes; others are misses.
const MAGIC: [u8; 4] = *b"eca1";

const ID: usize = 4;
const GENERATION: usize = ID + 16;
const IDENTITY: usize = GENERATION + 16;
const GIVEN: usize = IDENTITY + 20;
const VERSIONED: usize = GIVEN + 8;
const VERSION: usize = VERSIONED + 1;
const BODY: usize = VERSION + 16;

/// The record of a lease, as it is stored.
pub(super) fn write(record: &Record<'_>, lease: &Lease, identity: &Identity) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BODY + record.body.len());
    bytes.extend(MAGIC);
    bytes.extend(lease.token);
    bytes.extend(lease.note.generation);
    bytes.extend(identity.as_bytes());
    bytes.extend(lease.note.given.to_be_bytes());
    bytes.push(u8::from(record.version.is_some()));
    bytes.extend(record.version.map_or([0; 16], |version| *version.as_bytes()));
    debug_assert_eq!(bytes.len(), BODY);
    bytes.extend(record.body);
    bytes
}

/// Judges what is stored under a key, beside the generation of its partition.
/// `now` is the moment on the server's clock, or later, in milliseconds.
pub(super) fn read(
    bytes: Vec<u8>,
    generation: Option<&[u8]>,
    identity: &Identity,
    now: u64,
) -> Reading {
    // What is too short has an id too: the script cuts in the same way.
    let id = RecordId::new(bytes.get(ID..).unwrap_or_default());
    if bytes.len() < BODY || bytes[..ID] != MAGIC {
        return Reading::Unusable(id, Unusable::Foreign);
    }
    if generation != Some(&bytes[GENERATION..IDENTITY]) {
        return Reading::Unusable(id, Unusable::Cleared);
    }
    if bytes[IDENTITY..GIVEN] != *identity.as_bytes() && !cfg!(broken = "no_server_identity") {
        return Reading::Unusable(id, Unusable::OtherServer);
    }
    let given = bytes[GIVEN..VERSIONED].try_into().expect("it is 8 bytes long");
    let age = Duration::from_millis(now.saturating_sub(u64::from_be_bytes(given)));
    Reading::Found(Found::new(id, age, bytes, BODY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::LeaseNote;
    use crate::version::Version;

    const GENERATION_NOW: [u8; 16] = [7; 16];

    fn stored(identity: &Identity) -> Vec<u8> {
        let note = LeaseNote { session: 1, generation: GENERATION_NOW, given: 1_000 };
        let lease = Lease { token: [9; 16], note };
        let version = Some(Version::from(5_u64));
        let record = Record { body: b"body", ttl: Duration::from_secs(1), version };
        write(&record, &lease, identity)
    }

    #[test]
    fn a_record_comes_back_with_its_age() {
        let identity = Identity::of("0123456789abcdef0123456789abcdef01234567").expect("an id");
        let reading = read(stored(&identity), Some(&GENERATION_NOW), &identity, 1_250);
        let Reading::Found(found) = reading else { panic!("{reading:?}") };
        assert_eq!(found.body(), b"body");
        assert_eq!(found.age, Duration::from_millis(250));
        assert_eq!(found.id, RecordId::new(&[9; 16]));
    }

    #[test]
    fn what_must_not_be_shown_says_why() {
        let ours = Identity::of("0123456789abcdef0123456789abcdef01234567").expect("an id");
        let other = Identity::of("f123456789abcdef0123456789abcdef01234567").expect("an id");
        let why = |bytes: Vec<u8>, generation: Option<&[u8]>, identity| match read(
            bytes, generation, identity, 0,
        ) {
            Reading::Unusable(_, why) => why,
            reading => panic!("{reading:?}"),
        };
        let whole = stored(&ours);
        assert_eq!(why(whole.clone(), None, &ours), Unusable::Cleared);
        assert_eq!(why(whole.clone(), Some(&[8; 16]), &ours), Unusable::Cleared);
        assert_eq!(why(whole.clone(), Some(&GENERATION_NOW), &other), Unusable::OtherServer);
        for cut in 0..BODY {
            let bytes = whole[..cut].to_vec();
            assert_eq!(why(bytes, Some(&GENERATION_NOW), &ours), Unusable::Foreign, "{cut}");
        }
        let mut later = whole;
        later[3] = b'2';
        assert_eq!(why(later, Some(&GENERATION_NOW), &ours), Unusable::Foreign);
    }
}
