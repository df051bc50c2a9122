//! One connection to one server, and who that server is.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::connect::Connect;
use super::generations::Generations;
#[cfg(feature = "http")]
use super::log::{ANNOUNCE, NEWS};
use super::script::{ACQUIRE, DISPLACE, FILL, INVALIDATE, RELEASE};
use crate::clock::{Clock, Tick, nanos};
use crate::shared::SharedError;

/// Whether the server is still who it was is asked again when this long has
/// passed: it may have been demoted and promoted without closing a connection.
const RECHECK: Duration = Duration::from_secs(1);

/// How long a server may take to say who it is.
const GREETING: Duration = Duration::from_secs(2);

/// Which dataset a server has, as far as invalidations go: its replication id. It
/// changes when the server restarts, from a snapshot or not, and when a replica
/// is promoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity([u8; 20]);

impl Identity {
    /// From 40 hexadecimal digits.
    pub(super) fn of(digits: &str) -> Option<Self> {
        let mut id = [0; 20];
        if digits.len() != 40 || !digits.is_ascii() {
            return None;
        }
        for (n, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).ok()?;
        }
        Some(Self(id))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// A connection whose server is known. A lease is used only over the session that
/// it was asked over: that cannot reach another life of the server.
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) identity: Identity,
    pub(super) scripts: Scripts,
    /// Nothing if the server gives no notices.
    generations: Option<Arc<Generations>>,
    connection: MultiplexedConnection,
    clock: Clock,
    /// The server's clock minus ours, in microseconds, at most.
    ahead: AtomicI64,
    checked: AtomicU64,
    closed: AtomicBool,
}

/// The names of the scripts on the server.
pub(super) struct Scripts {
    pub(super) acquire: String,
    pub(super) fill: String,
    pub(super) release: String,
    pub(super) invalidate: String,
    pub(super) displace: String,
    #[cfg(feature = "http")]
    pub(super) announce: String,
    #[cfg(feature = "http")]
    pub(super) news: String,
}

const SCRIPTS: &[&str] = &[
    ACQUIRE,
    FILL,
    RELEASE,
    INVALIDATE,
    DISPLACE,
    #[cfg(feature = "http")]
    ANNOUNCE,
    #[cfg(feature = "http")]
    NEWS,
];

impl Scripts {
    /// By their names, in the order of [`SCRIPTS`].
    fn new(names: Vec<String>) -> Option<Self> {
        let mut names = names.into_iter();
        Some(Self {
            acquire: names.next()?,
            fill: names.next()?,
            release: names.next()?,
            invalidate: names.next()?,
            displace: names.next()?,
            #[cfg(feature = "http")]
            announce: names.next()?,
            #[cfg(feature = "http")]
            news: names.next()?,
        })
    }
}

impl Session {
    async fn open(connect: &Connect, clock: Clock, id: u64) -> Result<Self, SharedError> {
        let (mut connection, mut generations) = connect.connection().await.map_err(classify)?;
        if generations.is_some() {
            let mut track = redis::cmd("CLIENT");
            track.arg("TRACKING").arg("ON").arg("OPTIN");
            // It may not be allowed to; then each read asks for the generation.
            if track.query_async::<()>(&mut connection).await.is_err() {
                generations = None;
            }
        }
        let asked = clock.now();
        let greeting = who_are_you();
        // Nobody asks for another connection while this one is being opened.
        let answer = timeout(GREETING, async {
            let who: (String, (i64, i64)) = greeting.query_async(&mut connection).await?;
            let names: Vec<String> = load_scripts().query_async(&mut connection).await?;
            Ok((who, names))
        });
        let answer = answer.await.map_err(|_| SharedError::Timeout(GREETING))?;
        let ((info, time), names) = answer.map_err(classify)?;
        let scripts = Scripts::new(names)
            .ok_or_else(|| unreachable("the server does not name the scripts"))?;
        Ok(Self {
            id,
            identity: primary(&info)?,
            scripts,
            generations,
            connection,
            ahead: AtomicI64::new(ahead(time, asked)),
            checked: AtomicU64::new(clock.now()),
            clock,
            closed: AtomicBool::new(false),
        })
    }

    /// The moment on the server's clock, or a little later, in milliseconds.
    pub(super) fn server_now(&self) -> u64 {
        let micros = (self.clock.now() / 1_000) as i64 + self.ahead.load(Ordering::Relaxed);
        u64::try_from(micros / 1_000).unwrap_or_default()
    }

    pub(super) fn generations(&self) -> Option<&Generations> {
        self.generations.as_deref()
    }

    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, SharedError> {
        let mut connection = self.connection.clone();
        match connection.send_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(self.failed(error.into())),
            answer => answer.map_err(|error| self.failed(error)),
        }
    }

    /// Runs commands at once; each has an answer of its own.
    pub(super) async fn commands(
        &self,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, SharedError> {
        let mut connection = self.connection.clone();
        let answers: RedisResult<Vec<Value>> = commands.query_async(&mut connection).await;
        answers.map_err(|error| self.failed(error))
    }

    /// Whether it answers; closed if it does not, so that the next try connects anew.
    pub(super) async fn ping(&self) -> Result<(), SharedError> {
        let guard = CloseOnDrop(self);
        self.check(self.clock.now()).await?;
        std::mem::forget(guard);
        Ok(())
    }

    /// Loads the scripts again: somebody has flushed them.
    pub(super) async fn reload(&self) -> Result<(), SharedError> {
        self.commands(&load_scripts()).await.map(drop)
    }

    /// Asks who the server is, if that was long ago. One caller does; the others go
    /// on.
    pub(super) async fn recheck(&self) -> Result<(), SharedError> {
        let (now, checked) = (self.clock.now(), self.checked.load(Ordering::Relaxed));
        if now.saturating_sub(checked) < nanos(RECHECK)
            || self
                .checked
                .compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return Ok(());
        }
        self.check(now).await
    }

    async fn check(&self, now: Tick) -> Result<(), SharedError> {
        let mut connection = self.connection.clone();
        let answer: RedisResult<(String, (i64, i64))> =
            who_are_you().query_async(&mut connection).await;
        let (info, time) = answer.map_err(|error| self.failed(error))?;
        let identity = primary(&info).inspect_err(|_| self.close())?;
        if identity != self.identity {
            self.close();
            return Err(unreachable("the server is not the one it was: it was replaced"));
        }
        self.ahead.store(ahead(time, now), Ordering::Relaxed);
        Ok(())
    }

    /// Asks the next to connect anew.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn failed(&self, error: RedisError) -> SharedError {
        let demoted = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::Moved)
        );
        if error.is_unrecoverable_error() || error.is_io_error() || demoted {
            self.close();
        }
        classify(error)
    }
}

/// For a question whose asker may give up.
struct CloseOnDrop<'a>(&'a Session);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The question that [`primary`] and [`ahead`] read the answers to.
fn who_are_you() -> Pipeline {
    let mut ask = redis::pipe();
    ask.cmd("INFO").arg("replication").cmd("TIME");
    ask
}

fn load_scripts() -> Pipeline {
    let mut load = redis::pipe();
    for script in SCRIPTS {
        load.cmd("SCRIPT").arg("LOAD").arg(script);
    }
    load
}

/// How far the server's clock is ahead of ours at most, if it said `time` to a
/// question asked at `asked`.
fn ahead((seconds, micros): (i64, i64), asked: Tick) -> i64 {
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(micros)
        .saturating_sub((asked / 1_000) as i64)
}

/// The identity of a primary.
fn primary(info: &str) -> Result<Identity, SharedError> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    if field("role") != Some("master") {
        return Err(unreachable("the server is a replica: name the primary"));
    }
    field("master_replid")
        .and_then(Identity::of)
        .ok_or_else(|| unreachable("the server does not say its `master_replid`"))
}

pub(super) fn unreachable(why: &'static str) -> SharedError {
    SharedError::Unreachable(Arc::new(io::Error::other(why)))
}

/// Whether there is no room. The error of a pipeline has the code of none of its
/// commands, and before Redis 7 that of a script is always the same.
fn is_full(error: &RedisError) -> bool {
    error.clone().into_server_errors().is_some_and(|errors| {
        errors.iter().any(|(_, error)| {
            error.code() == "OOM" || error.details().is_some_and(|text| text.contains("-OOM "))
        })
    })
}

pub(super) fn classify(error: RedisError) -> SharedError {
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown,
        ) => SharedError::Unreachable(Arc::new(error)),
        _ if is_full(&error) => SharedError::Full(Arc::new(error)),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => {
            SharedError::Refused(Arc::new(error))
        }
        _ => SharedError::Unreachable(Arc::new(error)),
    }
}

/// The one session with one server. It is opened by a task of its own, so that a
/// caller who gives up takes no one's connection away.
pub(super) struct Node {
    connect: Connect,
    clock: Clock,
    state: Mutex<State>,
}

type Opened = Result<Arc<Session>, SharedError>;
type Opening = watch::Receiver<Option<Opened>>;

enum State {
    Closed,
    Opening(Opening),
    Open(Arc<Session>),
}

static SESSIONS: AtomicU64 = AtomicU64::new(1);

impl Node {
    pub(super) fn new(connect: Connect) -> Arc<Self> {
        Arc::new(Self { connect, clock: Clock::system(), state: Mutex::new(State::Closed) })
    }

    /// The session, opened if there is none.
    pub(super) async fn session(self: &Arc<Self>) -> Opened {
        let mut opening = match self.open() {
            Ok(session) => return Ok(session),
            Err(opening) => opening,
        };
        match opening.wait_for(Option::is_some).await {
            Ok(opened) => opened.as_ref().expect("waited until there is one").clone(),
            Err(_) => Err(unreachable("the runtime that opened the connection was shut down")),
        }
    }

    /// The session that a lease was asked over, if it is still open.
    pub(super) fn same_session(&self, id: u64) -> Option<Arc<Session>> {
        match &*self.state() {
            State::Open(session)
                if session.id == id && !session.closed.load(Ordering::Relaxed) =>
            {
                Some(Arc::clone(session))
            }
            _ => None,
        }
    }

    /// The session, or the one that is being opened.
    fn open(self: &Arc<Self>) -> Result<Arc<Session>, Opening> {
        let mut state = self.state();
        match &*state {
            State::Open(session) if !session.closed.load(Ordering::Relaxed) => {
                return Ok(Arc::clone(session));
            }
            // Without its sender nothing comes: its task was shut down.
            State::Opening(opening) if opening.has_changed().is_ok() => {
                return Err(opening.clone());
            }
            _ => {}
        }
        let (landed, opening) = watch::channel(None);
        *state = State::Opening(opening.clone());
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
            let opened =
                Session::open(&node.connect, node.clock.clone(), id).await.map(Arc::new);
            *node.state() = match &opened {
                Ok(session) => State::Open(Arc::clone(session)),
                Err(_) => State::Closed,
            };
            landed.send_replace(Some(opened));
        });
        Err(opening)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_primary_is_known_by_its_replication_id() {
        let info = format!("# Replication\r\nrole:master\r\nmaster_replid:{REPLID}\r\n");
        assert_eq!(primary(&info).ok(), Identity::of(REPLID));
        for wrong in [
            info.replace("role:master", "role:slave"),
            info.replace("0123", "xyz3"),
            info.replace("master_replid", "replid"),
            String::new(),
        ] {
            assert!(primary(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_server_is_never_thought_to_be_behind() {
        // It said 5 s to a question asked at 2 s of our clock.
        assert_eq!(ahead((5, 7), 2_000_000_000), 3_000_007);
    }
}
