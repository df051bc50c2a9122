//! Reading the feed: one stream for each bucket.

use std::time::Duration;

use redis::Value;
use redis::streams::{StreamId, StreamReadReply};
use tokio::time::{Instant, sleep};

use super::link::Link;
use super::{Shared, millis, number};
use crate::error::BoxError;
use crate::store::{Cursor, Feed, Revocation, SessionId};

/// Between two looks at a Cluster, whose nodes cannot be waited for together.
const PAUSE: Duration = Duration::from_millis(5);
/// Entries of one stream in one read.
const AT_ONCE: usize = 2_000;

/// Where a reader is in each stream, and its last heartbeat there.
struct Positions(Vec<(String, u64)>);

impl Positions {
    fn at(now_ms: u64, window: Duration, streams: usize) -> Self {
        let from = format!("{}-0", now_ms.saturating_sub(millis(window)));
        Self(vec![(from, 0); streams])
    }

    fn parse(cursor: &Cursor, streams: usize) -> Result<Self, BoxError> {
        let parsed = cursor.as_str().split(',').map(|position| {
            let (id, beat) = position.split_once('/').ok_or("the cursor is damaged")?;
            Ok((id.to_owned(), beat.parse()?))
        });
        let positions = parsed.collect::<Result<Vec<_>, BoxError>>()?;
        if positions.len() != streams {
            return Err("the cursor is another store's".into());
        }
        Ok(Self(positions))
    }

    fn cursor(&self) -> Cursor {
        let texts: Vec<_> = self.0.iter().map(|(id, beat)| format!("{id}/{beat}")).collect();
        Cursor::new(texts.join(","))
    }

    /// Takes one entry in.
    fn advance(&mut self, at: usize, entry: &StreamId) -> Result<Option<Revocation>, BoxError> {
        let (id, beat) = &mut self.0[at];
        id.clone_from(&entry.id);
        let revocation = parse(entry)?;
        if revocation.is_none() {
            let (ms, _) = entry.id.split_once('-').unwrap_or((&entry.id, ""));
            *beat = (*beat).max(ms.parse()?);
        }
        Ok(revocation)
    }

    fn oldest_beat(&self) -> u64 {
        self.0.iter().map(|(_, beat)| *beat).min().unwrap_or(0)
    }
}

/// An entry of the feed; nothing for a heartbeat.
fn parse(entry: &StreamId) -> Result<Option<Revocation>, BoxError> {
    let text = |name: &str| {
        entry.get::<String>(name).ok_or_else(|| format!("an entry of the feed has no `{name}`"))
    };
    let until_ms = || Ok::<u64, BoxError>(text("x")?.parse()?);
    Ok(Some(match text("t")?.as_str() {
        "h" => return Ok(None),
        "s" => {
            let session: SessionId = super::unhex(text("i")?.as_bytes())?;
            Revocation::Session { session, until_ms: until_ms()? }
        }
        "u" => Revocation::User {
            user: text("i")?,
            epoch: text("e")?.parse()?,
            until_ms: until_ms()?,
        },
        "j" => Revocation::Token { token_id: text("i")?, until_ms: until_ms()? },
        "k" => Revocation::Key { kid: text("i")? },
        other => return Err(format!("the feed has an entry of kind {other:?}").into()),
    }))
}

pub(super) async fn read(
    shared: &Shared,
    since: Option<&Cursor>,
    window: Duration,
    wait: Duration,
) -> Result<Feed, BoxError> {
    let streams = shared.tags.len();
    let mut entries = Vec::new();
    let mut positions = match since {
        Some(cursor) => Positions::parse(cursor, streams)?,
        None => {
            // Before the streams: a key that is killed after this is in them.
            let mut killed = shared.scripts.killed.key(format!("{}:k", shared.tags[0]));
            let answer: Vec<Vec<u8>> = shared.link.script(killed.arg("")).await?;
            for kid in answer.get(1..).unwrap_or_default() {
                entries.push(Revocation::Key { kid: String::from_utf8(kid.clone())? });
            }
            Positions::at(number(&answer, 0)?, window, streams)
        }
    };
    // A first reader is answered with what there is.
    let wait = if since.is_some() { wait } else { Duration::ZERO };
    let now_ms = match &shared.link {
        Link::Single { client, feed, .. } => {
            let mut connection = Link::feed(client, feed).await?;
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(AT_ONCE);
            if !wait.is_zero() {
                read.arg("BLOCK").arg(millis(wait));
            }
            read.arg("STREAMS");
            shared.tags.iter().for_each(|tag| {
                read.arg(format!("{tag}:f"));
            });
            positions.0.iter().for_each(|(id, _)| {
                read.arg(id);
            });
            let mut both = redis::pipe();
            both.add_command(read).cmd("TIME");
            let (reply, time): (Option<StreamReadReply>, (u64, u64)) =
                both.query_async(&mut connection).await?;
            Link::give_back(feed, connection).await;
            for stream in reply.unwrap_or_default().keys {
                let at = shared.tags.iter().position(|tag| {
                    stream.key.strip_suffix(":f").is_some_and(|has| has == tag)
                });
                let at = at.ok_or("the feed has a stream that nobody asked for")?;
                for entry in &stream.ids {
                    entries.extend(positions.advance(at, entry)?);
                }
            }
            time.0 * 1_000 + time.1 / 1_000
        }
        Link::Cluster(_) => read_cluster(shared, &mut positions, &mut entries, wait).await?,
    };
    let (cursor, heartbeat_ms) = (positions.cursor(), positions.oldest_beat());
    Ok(Feed { entries, cursor, now_ms, heartbeat_ms })
}

/// Each stream by itself: one command over two slots is refused by a Cluster.
async fn read_cluster(
    shared: &Shared,
    positions: &mut Positions,
    entries: &mut Vec<Revocation>,
    wait: Duration,
) -> Result<u64, BoxError> {
    let asked = Instant::now();
    loop {
        let reads = shared.tags.iter().zip(&positions.0).map(|(tag, (from, _))| async move {
            let mut call = shared.scripts.range.key(format!("{tag}:f"));
            call.arg(from).arg(AT_ONCE);
            let answer: (u64, Value) = shared.link.script(&call).await?;
            let range: redis::streams::StreamRangeReply = redis::from_redis_value(answer.1)?;
            Ok::<_, BoxError>((answer.0, range))
        });
        let answers = futures_util::future::try_join_all(reads).await?;
        let mut news = false;
        let mut age = 0;
        for (at, (node_ms, range)) in answers.iter().enumerate() {
            for entry in &range.ids {
                news = true;
                entries.extend(positions.advance(at, entry)?);
            }
            age = age.max(node_ms.saturating_sub(positions.0[at].1));
        }
        if news || asked.elapsed() >= wait {
            // Each part's age is by its own node's clock; only the age matters.
            return Ok(positions.oldest_beat() + age);
        }
        sleep(PAUSE).await;
    }
}
