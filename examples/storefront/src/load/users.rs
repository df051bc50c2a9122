//! Users who are logged in while a load runs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::{Client, Failure, Target};
use super::jar::Jar;
use super::mix::{Kind, Planned, send};
use crate::seed::{PASSWORD, email_of};

/// Who log in from one address: fewer than the shop lets through in a minute.
const OF_ADDRESS: u32 = 50;

/// How many log in at once: a shop checks as many passwords at a time as it has cores, and the
/// load is yet to begin.
const AT_ONCE: u32 = 1;

/// How often a login is tried that the shop is too busy for.
const ATTEMPTS: u32 = 20;

/// All of them, by their number from 1 on.
#[derive(Debug)]
pub(super) struct Users {
    users: Vec<User>,
    refreshes: AtomicU64,
    refused: AtomicU64,
}

/// What has become of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LoggedIn {
    pub(crate) users: usize,
    /// Tokens that were exchanged for new ones.
    pub(crate) refreshes: u64,
    /// Answers that said that a token, or its user, may not. All are failures.
    pub(crate) refused: u64,
}

#[derive(Debug)]
struct User {
    state: Mutex<State>,
    /// Held by who refreshes.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct State {
    jar: Jar,
    access: Arc<str>,
    renew_at: Instant,
}

/// The body of a login's answer, and of a refresh's.
#[derive(Debug, Deserialize)]
struct Pair {
    access_token: String,
    /// In seconds.
    expires_in: u64,
}

impl Users {
    /// Logs in users 1 to `count` of a shop that was seeded with `seed`.
    ///
    /// # Errors
    ///
    /// When one of them is not let in.
    pub(super) async fn log_in(
        targets: &[Target],
        count: u32,
        seed: u64,
    ) -> Result<Self, String> {
        if count > OF_ADDRESS && !targets.iter().all(Target::is_loopback) {
            return Err(format!(
                "a shop lets in no more than {OF_ADDRESS} users from one address at once, and only \
                 on loopback there are others; use --login {OF_ADDRESS}, or fewer"
            ));
        }
        let mut logins = JoinSet::new();
        for first in 0..AT_ONCE.min(count) {
            let targets = targets.to_vec();
            logins.spawn(async move {
                let mut users = Vec::new();
                for n in (first..count).step_by(AT_ONCE as usize) {
                    let target = targets[n as usize % targets.len()].clone();
                    users.push((n, User::log_in(target, n, seed).await?));
                }
                Ok::<_, String>(users)
            });
        }
        let mut users = Vec::new();
        while let Some(some) = logins.join_next().await {
            users.extend(some.map_err(|e| e.to_string())??);
        }
        users.sort_by_key(|(n, _)| *n);
        let users = users.into_iter().map(|(_, user)| user).collect();
        Ok(Self { users, refreshes: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// [`Client::send`], as the user `by`, whose tokens are exchanged when they are old.
    ///
    /// # Errors
    ///
    /// As for [`Client::send`].
    pub(super) async fn send(
        &self,
        client: &mut Client,
        by: u32,
        planned: &Planned,
    ) -> Result<Bytes, Failure> {
        let user = &self.users[by as usize - 1];
        let sent = async {
            let State { mut jar, access, .. } = self.fresh(client, user).await?;
            let answer = client.send_as(&mut jar, Some(&access), planned).await;
            user.state().jar.merge(jar);
            answer
        };
        let answer = sent.await;
        if matches!(answer, Err(Failure::Status(401 | 403 | 429))) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn fresh(&self, client: &mut Client, user: &User) -> Result<State, Failure> {
        let state = user.state().clone();
        if Instant::now() < state.renew_at {
            return Ok(state);
        }
        let _one = user.refreshing.lock().await;
        let State { mut jar, renew_at, .. } = user.state().clone();
        if Instant::now() >= renew_at {
            let planned = send(Kind::Profile, "POST", "/auth/refresh".to_owned(), &json!(null));
            let planned = Planned { body: None, ..planned };
            let answer = client.send_as(&mut jar, None, &planned).await?;
            self.refreshes.fetch_add(1, Ordering::Relaxed);
            let next = State::new(jar, &answer)?;
            let mut state = user.state();
            (state.access, state.renew_at) = (next.access, next.renew_at);
            state.jar.merge(next.jar);
        }
        Ok(user.state().clone())
    }

    pub(super) fn seen(&self) -> LoggedIn {
        LoggedIn {
            users: self.users.len(),
            refreshes: self.refreshes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl User {
    async fn log_in(target: Target, n: u32, seed: u64) -> Result<Self, String> {
        let id = n + 1;
        // 127.0.0.1, and its neighbours, which are this machine as well.
        let [a, b] = (n / OF_ADDRESS).to_be_bytes()[2..] else { unreachable!("two are left") };
        let mut client = Client::new(target.clone());
        if n >= OF_ADDRESS {
            client = client.from(IpAddr::V4(Ipv4Addr::new(127, 1, a, b)));
        }
        let body = json!({ "email": email_of(seed, id), "password": PASSWORD });
        let planned = send(Kind::Profile, "POST", "/login".to_owned(), &body);
        let mut jar = Jar::default();
        let mut tried = 0;
        let answer = loop {
            tried += 1;
            match client.send_as(&mut jar, None, &planned).await {
                Ok(answer) => break answer,
                Err(Failure::Status(503)) if tried < ATTEMPTS => {
                    sleep(Duration::from_millis(250)).await;
                }
                Err(Failure::Status(404)) => {
                    return Err(format!(
                        "the shop at {target} has no login; open it with one, or drop --login"
                    ));
                }
                Err(Failure::Status(401)) => {
                    return Err(format!(
                        "user {id} is not let in at {target}; seed at least that many users, and \
                         give --shop-seed as `storefront seed` had it"
                    ));
                }
                Err(e) => return Err(format!("user {id} is not let in at {target} ({e})")),
            }
        };
        let state = State::new(jar, &answer).map_err(|e| format!("user {id}: {e}"))?;
        let refreshing = tokio::sync::Mutex::new(());
        Ok(Self { state: Mutex::new(state), refreshing })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(jar: Jar, answer: &Bytes) -> Result<Self, Failure> {
        let pair = serde_json::from_slice(answer).map_err(|_| Failure::Transport)?;
        let Pair { access_token, expires_in } = pair;
        // Well before its end, and a request may take a while.
        let renew_at = Instant::now() + Duration::from_secs(expires_in) / 2;
        Ok(Self { jar, access: access_token.into(), renew_at })
    }
}
