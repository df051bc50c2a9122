//! What Redis answers.

use redis::Value;

use super::header;
use super::session::{Session, classify, unreachable};
use crate::shared::{Acquired, Lease, LeaseNote, Reading, SharedError};
use crate::version::{Version, VersionFloor};

/// The answer to one MGET of `keys` records, and of their generation last.
pub(super) fn readings(
    answer: Value,
    keys: usize,
    session: &Session,
) -> Result<Vec<Reading>, SharedError> {
    let Value::Array(mut parts) = answer else { return Err(unexpected(answer)) };
    let generation = string(parts.pop().unwrap_or(Value::Nil))?;
    judged(Value::Array(parts), keys, generation.as_deref(), session)
}

/// The answer to one MGET of `keys` records, of a partition of that generation.
pub(super) fn judged(
    answer: Value,
    keys: usize,
    generation: Option<&[u8]>,
    session: &Session,
) -> Result<Vec<Reading>, SharedError> {
    let Value::Array(parts) = answer else { return Err(unexpected(answer)) };
    if parts.len() != keys {
        return Err(unexpected(Value::Array(parts)));
    }
    let now = session.server_now();
    parts.into_iter().map(|part| Ok(judge(string(part)?, generation, session, now))).collect()
}

/// The answer to a GET of one record.
pub(super) fn judge_now(
    record: Value,
    generation: Option<&[u8]>,
    session: &Session,
) -> Result<Reading, SharedError> {
    Ok(judge(string(record)?, generation, session, session.server_now()))
}

/// `now` is the moment on the server's clock.
fn judge(
    record: Option<Vec<u8>>,
    generation: Option<&[u8]>,
    session: &Session,
    now: u64,
) -> Reading {
    record.map_or(Reading::Missing, |bytes| {
        header::read(bytes, generation, &session.identity, now)
    })
}

pub(super) fn acquired(answer: Value, session: &Session) -> Result<Acquired, SharedError> {
    let Value::Array(mut parts) = answer else { return Err(unexpected(answer)) };
    match &mut parts[..] {
        [Value::Int(0), Value::BulkString(record), generation] => {
            let generation = match generation {
                Value::BulkString(generation) => Some(&generation[..]),
                _ => None,
            };
            let record = Some(std::mem::take(record));
            Ok(Acquired::Read(judge(record, generation, session, session.server_now())))
        }
        [
            Value::Int(1),
            Value::BulkString(generation),
            Value::Int(given),
            Value::BulkString(token),
            Value::Int(known),
            Value::BulkString(floor),
        ] => {
            let floor = match <[u8; 16]>::try_from(&floor[..]) {
                _ if *known == 0 => VersionFloor::Unknown,
                Ok(version) => VersionFloor::AtLeast(Version::from(version)),
                Err(_) => VersionFloor::None,
            };
            let Ok(token) = <[u8; 16]>::try_from(&token[..]) else {
                return Err(unexpected(Value::Array(parts)));
            };
            let lease = lease_of(token, generation, *given, session)?;
            Ok(Acquired::Leased(lease, floor))
        }
        [Value::Int(2)] => Ok(Acquired::Held),
        _ => Err(unexpected(Value::Array(parts))),
    }
}

pub(super) fn lease_of(
    token: [u8; 16],
    generation: &[u8],
    given: i64,
    session: &Session,
) -> Result<Lease, SharedError> {
    let generation =
        generation.try_into().map_err(|_| unreachable("a generation is 16 bytes"))?;
    let given = u64::try_from(given).unwrap_or_default();
    Ok(Lease { token, note: LeaseNote { session: session.id, generation, given } })
}

pub(super) fn string(part: Value) -> Result<Option<Vec<u8>>, SharedError> {
    match part {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        part => Err(unexpected(part)),
    }
}

/// Says of what kind an answer was; its content may be anybody's.
pub(super) fn unexpected(answer: Value) -> SharedError {
    match answer {
        Value::ServerError(error) => classify(error.into()),
        Value::Array(_) => unreachable("the server's answer is a list of another form"),
        _ => unreachable("the server's answer is of another form"),
    }
}
