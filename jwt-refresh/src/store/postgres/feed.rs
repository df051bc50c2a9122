//! Reading the feed.
//!
//! Numbers are drawn before they are committed, so a reader that went on after
//! the highest one would miss who is late. It goes on from the oldest transaction
//! that was not finished when it read, and may see an entry again. After a promotion it goes on
//! from the start of the window.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Row;

use super::pool::{Listener, Prepared, Tls};
use super::{PostgresStore, millis, time};
use crate::error::BoxError;
use crate::store::{Cursor, Feed, Revocation, SessionId};

/// Between two looks where nothing can be listened to.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn read<T: Tls>(
    store: &PostgresStore<T>,
    since: Option<&Cursor>,
    window: Duration,
    wait: Duration,
) -> Result<Feed, BoxError> {
    let deadline = Instant::now() + wait;
    // Listening first, so that nothing falls between a look and a wait.
    let news = listen(store).await;
    let Some(since) = since else { return from_start(store, window).await };
    let damaged = "the cursor is damaged";
    let (server, seen) = since.as_str().rsplit_once('/').ok_or(damaged)?;
    let (timeline, from) = server.split_once('/').ok_or(damaged)?;
    let seen: usize = seen.parse()?;
    loop {
        let (feed, entries) = {
            let mut connection = store.connection().await?;
            let Prepared { client, statements, .. } = &*connection;
            let rows = client.query(&statements.feed_since, &[&from]).await?;
            connection.end();
            parse(&rows)?
        };
        // Numbers of transactions on another timeline say nothing about this one's.
        if feed.cursor.as_str().split('/').next() != Some(timeline)
            && !cfg!(broken = "one_timeline")
        {
            return from_start(store, window).await;
        }
        // What is seen again is all that was seen and not passed: a count tells.
        if entries != seen || Instant::now() >= deadline {
            return Ok(feed);
        }
        match &news {
            Some(news) => {
                let _ = timeout_at(deadline, news.notified()).await;
            }
            None => sleep(PAUSE.min(deadline - Instant::now())).await,
        }
    }
}

/// All of the last `window`.
async fn from_start<T: Tls>(
    store: &PostgresStore<T>,
    window: Duration,
) -> Result<Feed, BoxError> {
    let mut connection = store.connection().await?;
    let Prepared { client, statements, .. } = &*connection;
    // Before the entries: a key that is killed after this is among them.
    let killed = client.query(&statements.killed, &[]).await?;
    let rows = client.query(&statements.feed_from, &[&millis(window)]).await?;
    connection.end();
    let (mut feed, _) = parse(&rows)?;
    for row in killed {
        feed.entries.push(Revocation::Key { kid: row.try_get(0)? });
    }
    Ok(feed)
}

async fn listen<T: Tls>(store: &PostgresStore<T>) -> Option<Arc<Notify>> {
    let mut listener = store.shared.listener.lock().await;
    if listener.as_ref().is_none_or(Listener::is_closed) {
        *listener = None;
        match Listener::start(&store.shared.listening).await {
            Ok(started) => *listener = Some(started),
            Err(error) => tracing::debug!(%error, "the feed is polled: LISTEN has failed"),
        }
    }
    listener.as_ref().map(Listener::news)
}

/// The feed, and how many entries there were.
fn parse(rows: &[Row]) -> Result<(Feed, usize), BoxError> {
    let mut feed =
        Feed { entries: Vec::new(), cursor: Cursor::new(""), now_ms: 0, heartbeat_ms: 0 };
    let (mut again, mut read_at) = (0, None);
    for row in rows {
        let Some(kind) = row.try_get::<_, Option<&str>>(0)? else {
            read_at = row.try_get::<_, Option<&str>>(6)?;
            (feed.now_ms, feed.heartbeat_ms) = (time(row, 7)?, time(row, 8)?);
            continue;
        };
        if row.try_get(5)? {
            again += 1;
        }
        feed.entries.push(match kind {
            "s" => {
                let id: [u8; 16] = row.try_get::<_, &[u8]>(1)?.try_into()?;
                Revocation::Session {
                    session: SessionId::from_bytes(id),
                    until_ms: time(row, 4)?,
                }
            }
            "u" => Revocation::User {
                user: row.try_get(2)?,
                epoch: time(row, 3)?,
                until_ms: time(row, 4)?,
            },
            "j" => Revocation::Token { token_id: row.try_get(2)?, until_ms: time(row, 4)? },
            "k" => Revocation::Key { kid: row.try_get(2)? },
            other => return Err(format!("the feed has an entry of kind {other:?}").into()),
        });
    }
    let read_at = read_at.ok_or("the feed has no heartbeat: its schema is damaged")?;
    feed.cursor = Cursor::new(format!("{read_at}/{again}"));
    let entries = feed.entries.len();
    Ok((feed, entries))
}
