//! The log of announcements and its tables, for those who keep copies.
//!
//! All of it is in partition 0: `c` has its life and count, `j` the last messages, `p` and
//! `o` the tables. Each table says of which life it is, so that one that was evicted ends
//! the life of all: without it, what was purged would look good.

use std::sync::Arc;

use redis::{Pipeline, Value};

use super::answer::{string, unexpected};
use super::session::Session;
use super::{Name, Partition, RedisStore, operations::random};
use crate::shared::{Announcement, Life, News, Position, SharedError, SharedNews, Table};

/// That no table was lost.
#[cfg(not(broken = "http_tables"))]
macro_rules! has_tables {
    () => {
        "life_of(KEYS[3]) == life and life_of(KEYS[4]) == life"
    };
}
#[cfg(broken = "http_tables")]
macro_rules! has_tables {
    () => {
        "true"
    };
}

macro_rules! log_script {
    ($script:expr) => {
        concat!(
            r"
local function get(key) return redis.call('MGET', key)[1] end
local function life_of(table)
  local life = redis.pcall('HGET', table, 'life')
  return type(life) == 'string' and life
end
local function current(candidate)
  local found = get(KEYS[1])
  if found and #found > 16 then
    local life, count = string.sub(found, 1, 16), tonumber(string.sub(found, 17))
    local counts = count and count >= 0 and count < 2 ^ 48 and count % 1 == 0
    local is_list = type(redis.pcall('LLEN', KEYS[2])) == 'number'
    if counts and is_list and ",
            has_tables!(),
            r" then return life, count end
  end
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[3], 'life', candidate)
  redis.call('HSET', KEYS[4], 'life', candidate)
  redis.call('SET', KEYS[1], candidate .. '0')
  return candidate, 0
end
",
            $script
        )
    };
}

/// `KEYS`: count, messages, purged, outdated.
/// `ARGV`: candidate for a life, message, which key has the table or nothing, place in it.
///
/// Gives `{life, count}`. What is noted comes before it is told.
pub(super) const ANNOUNCE: &str = log_script!(
    r"
local life, count = current(ARGV[1])
count = count + 1
local number = string.format('%d', count)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[tonumber(ARGV[3])], ARGV[4], number) end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], -1024, -1)
redis.call('SET', KEYS[1], life .. number)
return {life, count}
"
);

/// `KEYS`: count, messages, purged, outdated.
/// `ARGV`: candidate for a life, life that is known or nothing, count that is known.
///
/// Gives `{life, count, messages}`, or `{life, count, purged, outdated}` if there is a gap.
pub(super) const NEWS: &str = log_script!(
    r"
local life, count = current(ARGV[1])
if ARGV[2] == life then
  local behind = count - tonumber(ARGV[3])
  if behind == 0 then return {life, count, {}} end
  if behind > 0 and behind <= redis.call('LLEN', KEYS[2]) then
    return {life, count, redis.call('LRANGE', KEYS[2], -behind, -1)}
  end
end
return {life, count, redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4])}
"
);

const KINDS: [u8; 4] = *b"cjpo";

impl Partition {
    fn log(&self, kind: u8) -> Name<'_> {
        Name { tag: &self.tag, kind, key: b"" }
    }
}

impl SharedNews for RedisStore {
    async fn announce(&self, what: &Announcement<'_>) -> Result<Position, SharedError> {
        let session = self.log_session().await?;
        let mut calls = Pipeline::with_capacity(1);
        let call = calls.cmd("EVALSHA").arg(&session.scripts.announce).arg(KINDS.len());
        for kind in KINDS {
            call.arg(self.partitions[0].log(kind));
        }
        call.arg(&random()).arg(what.message);
        match what.noted {
            Some((Table::Purged, place)) => call.arg(3).arg(place),
            Some((Table::Outdated, place)) => call.arg(4).arg(place),
            None => call.arg(b"").arg(b""),
        };
        let mut answers = self.run(&session, &calls).await?;
        match answers.pop() {
            Some(Value::Array(parts)) => position(&parts, &session),
            answer => Err(unexpected(answer.unwrap_or(Value::Nil))),
        }
    }

    async fn news(&self, after: Option<&Position>) -> Result<News, SharedError> {
        let session = self.log_session().await?;
        let known = after
            .filter(|after| after.life.0[16..] == *session.identity.as_bytes())
            .map(|after| &after.life.0[..16]);
        let place = &self.partitions[0];
        let mut calls = Pipeline::with_capacity(3);
        if session.generations().is_some() {
            // The server hints at the next change of what is read now.
            calls.cmd("CLIENT").arg("CACHING").arg("YES").ignore();
            calls.cmd("MGET").arg(place.log(b'c')).ignore();
        }
        let call = calls.cmd("EVALSHA").arg(&session.scripts.news).arg(KINDS.len());
        for kind in KINDS {
            call.arg(place.log(kind));
        }
        call.arg(&random()).arg(known.unwrap_or_default());
        call.arg(after.map_or(0, |after| after.count));
        let mut answers = self.run(&session, &calls).await?;
        let Some(Value::Array(parts)) = answers.pop() else {
            return Err(unexpected(Value::Nil));
        };
        let position = position(&parts, &session)?;
        match <[Value; 4]>::try_from(parts) {
            Ok([_, _, purged, outdated]) => {
                Ok(News::Anew { position, purged: table(purged)?, outdated: table(outdated)? })
            }
            Err(mut parts) => {
                let messages = strings(parts.pop().unwrap_or(Value::Nil))?;
                let gapless = after
                    .is_some_and(|after| after.count + messages.len() as u64 == position.count);
                if !gapless {
                    return Err(unexpected(Value::Nil));
                }
                Ok(News::Next { position, messages })
            }
        }
    }

    async fn end_life(&self) -> Result<(), SharedError> {
        let session = self.log_session().await?;
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(self.partitions[0].log(b'c'));
        session.command(&unlink).await.inspect_err(|error| self.look_around(error)).map(drop)
    }

    async fn hinted(&self, seen: u64) -> u64 {
        match self.log_session().await {
            Ok(session) => match session.generations() {
                Some(generations) => generations.changed(seen).await,
                None => std::future::pending().await,
            },
            Err(_) => std::future::pending().await,
        }
    }
}

impl RedisStore {
    async fn log_session(&self) -> Result<Arc<Session>, SharedError> {
        let node = self.topology.node(self.partitions[0].slot).await?;
        let session = node.session().await.inspect_err(|_| self.topology.suspect())?;
        session.recheck().await?;
        Ok(session)
    }
}

/// A life is one of the log in one life of the server.
fn position(parts: &[Value], session: &Session) -> Result<Position, SharedError> {
    let [Value::BulkString(life), Value::Int(count), ..] = parts else {
        return Err(unexpected(Value::Array(parts.to_vec())));
    };
    let mut whole = [0; 36];
    if life.len() != 16 {
        return Err(unexpected(Value::Nil));
    }
    whole[..16].copy_from_slice(life);
    whole[16..].copy_from_slice(session.identity.as_bytes());
    let count = u64::try_from(*count).map_err(|_| unexpected(Value::Int(*count)))?;
    Ok(Position { life: Life(whole), count })
}

fn strings(list: Value) -> Result<Vec<Vec<u8>>, SharedError> {
    let Value::Array(list) = list else { return Err(unexpected(list)) };
    list.into_iter().map(|part| string(part).map(Option::unwrap_or_default)).collect()
}

/// Pairs, but for the one that says the life.
fn table(pairs: Value) -> Result<Vec<(u16, u64)>, SharedError> {
    let flat = match pairs {
        Value::Map(pairs) => {
            let parts = pairs.into_iter().flat_map(|(place, count)| [place, count]);
            strings(Value::Array(parts.collect()))?
        }
        list => strings(list)?,
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let mut table = Vec::with_capacity(flat.len() / 2);
    for pair in flat.chunks_exact(2) {
        if pair[0] == b"life" {
            continue;
        }
        let place = text(&pair[0]).and_then(|place| place.parse().ok());
        let count = text(&pair[1]).and_then(|count| count.parse().ok());
        // One that is none of ours makes the whole table worthless.
        table.push(place.zip(count).ok_or_else(|| unexpected(Value::Nil))?);
    }
    Ok(table)
}
