//! What the cache asks of the tier, as commands.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::answer::{acquired, judge_now, judged, lease_of, readings, string, unexpected};
use super::generations::Generations;
use super::session::Session;
use super::{Partition, RedisStore, header};
use crate::shared::{
    Acquired, Ask, Fill, Filled, Floor, Lease, Reading, SharedError, SharedStore,
};

impl SharedStore for RedisStore {
    fn bind(&mut self, cache: &str) {
        self.cache = cache.into();
        self.lay_out(self.partitions.len());
    }

    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn partition(&self, key: &[u8]) -> usize {
        if self.partitions.len() == 1 {
            return 0;
        }
        // FNV-1a: all processes, of all versions, must agree on it.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        ((hash ^ (hash >> 32)) % self.partitions.len() as u64) as usize
    }

    fn domain(&self, partition: usize) -> usize {
        self.topology.domain(self.partitions[partition].slot)
    }

    async fn read(&self, keys: &[&[u8]]) -> Result<Vec<Reading>, SharedError> {
        let [first, ..] = keys else { return Ok(Vec::new()) };
        let session = self.session(first).await?;
        if self.partitions.len() > 1 && keys.len() > 1 {
            return self.read_slots(&session, keys).await;
        }
        let place = self.place(first);
        if let Some(generations) = session.generations() {
            return self.read_known(&session, generations, place, keys).await;
        }
        let answer = session.command(&place.mget_all(keys.iter().copied())).await;
        let answer = answer.inspect_err(|error| self.look_around(error))?;
        readings(answer, keys.len(), &session)
    }

    async fn acquire(&self, asks: &[Ask<'_>]) -> Result<Vec<Acquired>, SharedError> {
        let [first, ..] = asks else { return Ok(Vec::new()) };
        let session = self.session(first.key).await?;
        let mut calls = Pipeline::with_capacity(asks.len());
        for ask in asks {
            let place = self.place(ask.key);
            let seen = ask.seen.as_ref().map_or(&[][..], |seen| seen.as_bytes());
            calls
                .cmd("EVALSHA")
                .arg(&session.scripts.acquire)
                .arg(4)
                .arg(place.record(ask.key))
                .arg(place.lease(ask.key))
                .arg(place.generation())
                .arg(place.floors())
                .arg(&random())
                .arg(millis(ask.lease))
                .arg(&random())
                .arg(seen)
                .arg(millis(ask.floor_ttl))
                .arg(ask.key);
        }
        let answers = self.run(&session, &calls).await?;
        answers.into_iter().map(|answer| acquired(answer, &session)).collect()
    }

    async fn fill(&self, fills: &[Fill<'_>]) -> Result<Vec<Filled>, SharedError> {
        let [first, ..] = fills else { return Ok(Vec::new()) };
        // Another connection may be to another life of the server. Those of one server
        // now may have been leased by several.
        let one = fills.iter().all(|f| f.lease.note.session == first.lease.note.session);
        let session = self.same_session(first.key, first.lease).await.filter(|_| one);
        let Some(session) = session else {
            return Ok(vec![Filled::LeaseLost; fills.len()]);
        };
        let mut calls = Pipeline::with_capacity(fills.len());
        for fill in fills {
            let place = self.place(fill.key);
            let bytes = fill
                .record
                .as_ref()
                .map(|record| header::write(record, fill.lease, &session.identity));
            let record = fill.record.as_ref();
            let version = record.and_then(|record| record.version);
            calls
                .cmd("EVALSHA")
                .arg(&session.scripts.fill)
                .arg(4)
                .arg(place.record(fill.key))
                .arg(place.lease(fill.key))
                .arg(place.generation())
                .arg(place.floors())
                .arg(&fill.lease.token)
                .arg(&fill.lease.note.generation)
                .arg(bytes.unwrap_or_default())
                .arg(record.map_or(0, |record| millis(record.ttl)))
                .arg(version.as_ref().map_or(&[][..], |version| version.as_bytes()))
                .arg(fill.key);
        }
        let answers = self.run(&session, &calls).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Value::Int(0) => Ok(Filled::Stored),
                Value::Int(1) => Ok(Filled::LeaseLost),
                Value::Int(2) => Ok(Filled::BelowFloor),
                answer => Err(unexpected(answer)),
            })
            .collect()
    }

    async fn release(&self, leases: &[(&[u8], &Lease)]) -> Result<(), SharedError> {
        let [(key, lease), ..] = leases else { return Ok(()) };
        let Some(session) = self.same_session(key, lease).await else { return Ok(()) };
        let mut calls = Pipeline::with_capacity(leases.len());
        for (key, lease) in leases {
            let call = calls.cmd("EVALSHA").arg(&session.scripts.release).arg(1);
            call.arg(self.place(key).lease(key)).arg(&lease.token);
        }
        self.run(&session, &calls).await.map(drop)
    }

    async fn invalidate(&self, key: &[u8], floor: Option<&Floor>) -> Result<(), SharedError> {
        let session = self.session(key).await?;
        let place = self.place(key);
        let mut calls = Pipeline::with_capacity(1);
        calls
            .cmd("EVALSHA")
            .arg(&session.scripts.invalidate)
            .arg(3)
            .arg(place.record(key))
            .arg(place.lease(key))
            .arg(place.floors())
            .arg(floor.map_or(&[][..], |floor| floor.version.as_bytes()))
            .arg(floor.map_or(0, |floor| millis(floor.ttl)))
            .arg(key);
        self.run(&session, &calls).await.map(drop)
    }

    async fn displace(
        &self,
        key: &[u8],
        lease: Duration,
        floor: Option<&Floor>,
    ) -> Result<Option<Lease>, SharedError> {
        let session = self.session(key).await?;
        let place = self.place(key);
        let token = random();
        let mut calls = Pipeline::with_capacity(1);
        calls
            .cmd("EVALSHA")
            .arg(&session.scripts.displace)
            .arg(4)
            .arg(place.record(key))
            .arg(place.lease(key))
            .arg(place.generation())
            .arg(place.floors())
            .arg(&token)
            .arg(millis(lease))
            .arg(&random())
            .arg(floor.map_or(&[][..], |floor| floor.version.as_bytes()))
            .arg(floor.map_or(0, |floor| millis(floor.ttl)))
            .arg(key);
        let mut answers = self.run(&session, &calls).await?;
        match answers.pop() {
            Some(Value::Array(parts)) if parts.is_empty() => Ok(None),
            Some(Value::Array(parts)) => match &parts[..] {
                [Value::BulkString(generation), Value::Int(given)] => {
                    lease_of(token, generation, *given, &session).map(Some)
                }
                _ => Err(unexpected(Value::Array(parts))),
            },
            answer => Err(unexpected(answer.unwrap_or(Value::Nil))),
        }
    }

    async fn clear(&self, partition: usize, floors: bool) -> Result<(), SharedError> {
        let place = &self.partitions[partition];
        let node = self.topology.node(place.slot).await?;
        let session = node.session().await.inspect_err(|_| self.topology.suspect())?;
        session.recheck().await?;
        // Without a generation nothing is shown or filled, until a lease makes a new
        // one. Taking away works even when there is no room.
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(place.generation());
        if floors {
            unlink.arg(place.floors());
        }
        session.command(&unlink).await.inspect_err(|error| self.look_around(error)).map(drop)
    }

    async fn probe(&self, domain: usize) -> Result<(), SharedError> {
        self.topology.refresh().await?;
        let mut places = self.partitions.iter();
        // What no node has any more is none's concern.
        let Some(place) = places.find(|place| self.topology.domain(place.slot) == domain)
        else {
            return Ok(());
        };
        let session = self.topology.node(place.slot).await?.session().await?;
        session.ping().await?;
        // A server that refuses to be read is not well.
        let mut read = redis::cmd("MGET");
        session.command(read.arg(place.generation())).await.map(drop)
    }
}

impl RedisStore {
    /// Keys of one partition, whose generation is known or learnt on the way.
    async fn read_known(
        &self,
        session: &Session,
        generations: &Generations,
        place: &Partition,
        keys: &[&[u8]],
    ) -> Result<Vec<Reading>, SharedError> {
        if generations.of(&place.tag).is_some() {
            let answer = match keys {
                [key] => session.command(&place.get(key)).await,
                keys => session.command(&place.mget(keys.iter().copied())).await,
            };
            match (answer, generations.of(&place.tag), keys) {
                // It is known still, so it was when the answer was given.
                (Ok(record), Some(generation), [_]) => {
                    return Ok(vec![judge_now(record, Some(&generation), session)?]);
                }
                (Ok(records), Some(generation), _) => {
                    return judged(records, keys.len(), Some(&generation), session);
                }
                // A key of another type: MGET reads over it.
                (Err(SharedError::Refused(_)), ..) | (Ok(_), None, _) => {}
                (Err(error), ..) => {
                    self.look_around(&error);
                    return Err(error);
                }
            }
        }
        let notices = generations.notices();
        let mut calls = Pipeline::with_capacity(3);
        // The server gives notice of what the next command reads.
        calls.cmd("CLIENT").arg("CACHING").arg("YES").ignore();
        calls.cmd("MGET").arg(place.generation());
        calls.add_command(place.mget(keys.iter().copied()));
        let answers = session.commands(&calls).await;
        let answers = answers.inspect_err(|error| self.look_around(error))?;
        let [Value::Array(generation), records] = <[Value; 2]>::try_from(answers)
            .map_err(|answers| unexpected(Value::Array(answers)))?
        else {
            return Err(unexpected(Value::Nil));
        };
        let generation = generation.into_iter().next().unwrap_or(Value::Nil);
        let generation = string(generation)?;
        if let Some(known) = generation.as_deref().and_then(|bytes| bytes.try_into().ok()) {
            generations.learn(&place.tag, known, notices);
        }
        judged(records, keys.len(), generation.as_deref(), session)
    }

    /// One MGET for each slot, all at once.
    async fn read_slots(
        &self,
        session: &Session,
        keys: &[&[u8]],
    ) -> Result<Vec<Reading>, SharedError> {
        // By partition: the keys' places.
        let mut slots: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            slots.entry(SharedStore::partition(self, key)).or_default().push(at);
        }
        let mut calls = Pipeline::with_capacity(slots.len());
        for (partition, at) in &slots {
            calls.add_command(
                self.partitions[*partition].mget_all(at.iter().map(|at| keys[*at])),
            );
        }
        let answers = session.commands(&calls).await;
        let answers = answers.inspect_err(|error| self.look_around(error))?;
        let mut found: Vec<_> = keys.iter().map(|_| Reading::Missing).collect();
        for (at, answer) in slots.values().zip(answers) {
            for (at, reading) in at.iter().zip(readings(answer, at.len(), session)?) {
                found[*at] = reading;
            }
        }
        Ok(found)
    }
}

pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    bytes
}

/// At least one: zero would be refused, or last for ever.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 2).clamp(1, u64::MAX >> 2)
}
