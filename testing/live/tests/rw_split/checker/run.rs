//! Many sessions at once, while something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rw_split::{RwSplitBuilder, Stats};
use tokio::sync::RwLock;

use super::app::{App, Op, Reply};
use super::history::History;
use super::jar::Jar;
use crate::bed::Bed;

/// In the short form; `cargo xtask torture rw-split` sets more.
const OPERATIONS: u64 = 2_000;
const SESSIONS: usize = 12;

pub(super) fn operations() -> u64 {
    let set = std::env::var("TORTURE_OPERATIONS").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(OPERATIONS)
}

pub(super) struct Plan {
    pub(super) name: &'static str,
    /// Of a hundred operations.
    pub(super) writes: u32,
    pub(super) least: Duration,
    pub(super) think: Duration,
    pub(super) set_local: Option<&'static str>,
    pub(super) forged: Vec<String>,
    /// A session ends, and another takes its place, after so many reads.
    pub(super) reads_per_session: u64,
}

impl Plan {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            writes: 20,
            least: Duration::from_secs(2),
            think: Duration::from_millis(3),
            set_local: None,
            forged: Vec::new(),
            reads_per_session: 200,
        }
    }
}

pub(super) struct Run {
    pub(super) bed: Bed,
    pub(super) apps: [App; 2],
    pub(super) over: AtomicBool,
    /// Held by whoever changes what sessions may expect.
    pub(super) gate: RwLock<()>,
    pub(super) histories: std::sync::Mutex<Vec<(usize, Arc<History>)>>,
    operations: AtomicU64,
    failed: AtomicU64,
    cookies: AtomicU64,
    reads: AtomicU64,
    clock: AtomicI64,
    /// The newest value of the global register that is acknowledged.
    committed: AtomicI64,
    violations: std::sync::Mutex<Vec<String>>,
}

pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) stats: [Stats; 2],
}

impl Run {
    pub(super) async fn new(
        bed: Bed,
        plan: &Plan,
        build: impl Fn(&Bed) -> RwSplitBuilder,
    ) -> Arc<Self> {
        let client = bed.client().await;
        let rows = 2 * SESSIONS;
        client
            .batch_execute(&format!(
                "CREATE TABLE reg (id int PRIMARY KEY, v bigint NOT NULL, seen bigint NOT NULL) \
                    WITH (fillfactor = 20); \
                 CREATE FUNCTION on_primary() RETURNS boolean LANGUAGE sql STABLE \
                    AS 'SELECT NOT pg_is_in_recovery()'; \
                 INSERT INTO reg SELECT id, 0, 0 FROM generate_series(0, {rows}) AS id"
            ))
            .await
            .unwrap();
        bed.caught_up().await;
        let app =
            async |slot| App::new(build(&bed).build().await.unwrap(), slot, plan.set_local);
        let apps = [app(0).await, app(1).await];
        Arc::new(Self {
            bed,
            apps,
            over: AtomicBool::new(false),
            gate: RwLock::new(()),
            histories: std::sync::Mutex::default(),
            operations: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cookies: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            clock: AtomicI64::new(0),
            committed: AtomicI64::new(0),
            violations: std::sync::Mutex::default(),
        })
    }

    /// Runs sessions until there were enough operations, beside `fault`, which
    /// goes on until it sees that the run is over.
    pub(super) async fn go<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        plan: Plan,
        fault: F,
    ) -> Report {
        let began = Instant::now();
        let plan = Arc::new(plan);
        let fault = tokio::spawn(fault);
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|number| tokio::spawn(Arc::clone(self).sessions(number, Arc::clone(&plan))))
            .collect();
        let bump = tokio::spawn(Arc::clone(self).bump());
        let enough = operations();
        while self.operations.load(Ordering::Relaxed) < enough || began.elapsed() < plan.least {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() < Duration::from_secs(240), "{}: too slow", plan.name);
            assert!(!fault.is_finished(), "{}: the fault has ended early", plan.name);
        }
        self.over.store(true, Ordering::Relaxed);
        for session in sessions {
            session.await.unwrap();
        }
        bump.await.unwrap();
        fault.await.unwrap();
        self.report(&plan, began)
    }

    fn report(&self, plan: &Plan, began: Instant) -> Report {
        let stats = [self.apps[0].db.stats(), self.apps[1].db.stats()];
        let sum = |of: fn(&Stats) -> u64| stats.iter().map(of).sum::<u64>();
        let (replicas, primary) = (sum(|s| s.on_replicas), sum(|s| s.reads_on_primary));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let violations = self.violations.lock().unwrap().clone();
        println!(
            "{:34} {:>7} ops {:>6} reads {:>5.1} % on replicas {:>5} failed {:>4} unknown \
             {:>4} moves {:>4} clamps {:>5.1} % cookies {:>5.1} s  {} violations",
            plan.name,
            count(&self.operations),
            count(&self.reads),
            100.0 * replicas as f64 / (replicas + primary).max(1) as f64,
            count(&self.failed),
            sum(|s| s.unknown_outcomes),
            sum(|s| s.moves),
            sum(|s| s.clamps),
            100.0 * count(&self.cookies) as f64 / count(&self.reads).max(1) as f64,
            began.elapsed().as_secs_f64(),
            violations.len(),
        );
        Report { violations, stats }
    }

    /// Session after session on one pair of registers.
    async fn sessions(self: Arc<Self>, number: usize, plan: Arc<Plan>) {
        let mut last = 0;
        while !self.over.load(Ordering::Relaxed) {
            let (jar, history) = (Arc::new(Jar::default()), Arc::new(History::default()));
            self.histories.lock().unwrap().retain(|(other, _)| *other != number);
            self.histories.lock().unwrap().push((number, Arc::clone(&history)));
            let ended = Arc::new(AtomicBool::new(false));
            let value = Arc::new(AtomicI64::new(last));
            // A page is opened before it sends anything else.
            self.read(number, &plan, &jar, &history).await;
            let writers: Vec<_> = (0..2)
                .map(|which| {
                    let (run, plan) = (Arc::clone(&self), Arc::clone(&plan));
                    let (jar, history) = (Arc::clone(&jar), Arc::clone(&history));
                    let (ended, value) = (Arc::clone(&ended), Arc::clone(&value));
                    tokio::spawn(async move {
                        while !ended.load(Ordering::Relaxed) {
                            let think = plan.think * (100 - plan.writes) / plan.writes * 2;
                            pause(think).await;
                            let value = value.fetch_add(1, Ordering::Relaxed) + 1;
                            run.write(number, which, value, &plan, &jar, &history).await;
                        }
                    })
                })
                .collect();
            let mut reads = 0;
            while reads < plan.reads_per_session && !self.over.load(Ordering::Relaxed) {
                pause(plan.think).await;
                self.read(number, &plan, &jar, &history).await;
                reads += 1;
            }
            ended.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.await.unwrap();
            }
            last = value.load(Ordering::Relaxed);
        }
    }

    async fn read(&self, number: usize, plan: &Plan, jar: &Jar, history: &History) {
        let _gate = self.gate.read().await;
        let own = registers(number);
        let app = &self.apps[fastrand::usize(..2)];
        let (before, committed) = (history.expected(), self.committed.load(Ordering::Acquire));
        let (reply, cookies) = app.call(Op::Read { own }, jar, &forged(plan)).await;
        self.operations.fetch_add(1, Ordering::Relaxed);
        match reply {
            Ok(Reply::Read { own, global, on_primary }) => {
                self.reads.fetch_add(1, Ordering::Relaxed);
                self.cookies.fetch_add(u64::from(cookies > 0), Ordering::Relaxed);
                // A replica has no such excuse.
                let committed = if on_primary { committed } else { i64::MAX };
                if let Err(violation) = history.read(&before, committed, own, global) {
                    self.violations.lock().unwrap().push(violation);
                }
            }
            Ok(Reply::Written) => unreachable!("it was a read"),
            Err(error) => self.fail(&error, plan),
        }
    }

    async fn write(
        &self,
        number: usize,
        which: usize,
        value: i64,
        plan: &Plan,
        jar: &Jar,
        history: &History,
    ) {
        let _gate = self.gate.read().await;
        let op =
            Op::Write { register: registers(number)[which], value, seen: history.global() };
        // One flow on each process.
        let (reply, _) = self.apps[which].call(op, jar, &forged(plan)).await;
        self.operations.fetch_add(1, Ordering::Relaxed);
        match reply {
            Ok(_) => history.wrote(which, value),
            Err(error) => self.fail(&error, plan),
        }
    }

    fn fail(&self, error: &rw_split::Error, plan: &Plan) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if std::env::var_os("EARNED_SHOW_FAILURES").is_some() {
            eprintln!("{}: {error:?}", plan.name);
        }
    }

    /// The writer beside the sessions: the global register, and some bulk.
    async fn bump(self: Arc<Self>) {
        let mut client = None;
        while !self.over.load(Ordering::Relaxed) {
            let gate = self.gate.read().await;
            if client.is_none() {
                client = self.primary_client().await;
            }
            if let Some(connected) = &client {
                let value = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
                let global = format!("UPDATE reg SET v = {value} WHERE id = 0");
                let bulk = "UPDATE t SET n = n + 1";
                let sql = if value % 20 == 0 { format!("{bulk}; {global}") } else { global };
                match connected.batch_execute(&sql).await {
                    Ok(()) => self.committed.store(value, Ordering::Release),
                    Err(_) => client = None,
                }
            }
            drop(gate);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// To whichever server an app takes for the primary.
    async fn primary_client(&self) -> Option<tokio_postgres::Client> {
        let servers = std::iter::once(&self.bed.primary)
            .chain(self.bed.replicas.iter().map(|replica| &**replica));
        let mut newest = None;
        for server in servers {
            let Ok(client) =
                tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await
            else {
                continue;
            };
            let (client, connection) = client;
            tokio::spawn(async move { drop(connection.await) });
            let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN '' \
                ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END";
            let Ok(row) = client.query_one(sql, &[]).await else { continue };
            let timeline: String = row.get(0);
            if !timeline.is_empty()
                && newest.as_ref().is_none_or(|(other, _)| timeline > *other)
            {
                newest = Some((timeline, client));
            }
        }
        newest.map(|(_, client)| client)
    }

    /// Call with the gate held: from here on, no more is expected than `server` has.
    pub(super) async fn expect_what_survived(&self, server: &testbed::postgres::Postgres) {
        let client = server.client().await.unwrap();
        let rows = client.query("SELECT v FROM reg ORDER BY id", &[]).await.unwrap();
        let values: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        for (number, history) in self.histories.lock().unwrap().iter() {
            let [one, other] =
                registers(*number).map(|id| values[usize::try_from(id).unwrap()]);
            history.survived([one, other], values[0]);
        }
    }

    /// What was acknowledged is there in the end.
    pub(super) async fn check_end(&self, server: &testbed::postgres::Postgres) {
        let client = server.client().await.unwrap();
        let rows = client.query("SELECT v FROM reg ORDER BY id", &[]).await.unwrap();
        for (number, history) in self.histories.lock().unwrap().iter() {
            let own = registers(*number)
                .map(|id| rows[usize::try_from(id).unwrap()].get::<_, i64>(0));
            history.ends_with(own).unwrap();
        }
    }
}

fn registers(number: usize) -> [i32; 2] {
    let first = i32::try_from(2 * number + 1).unwrap();
    [first, first + 1]
}

fn forged(plan: &Plan) -> Vec<String> {
    if plan.forged.is_empty() || fastrand::bool() {
        return Vec::new();
    }
    vec![fastrand::choice(&plan.forged).unwrap().clone()]
}

async fn pause(think: Duration) {
    tokio::time::sleep(think.mul_f64(2.0 * fastrand::f64())).await;
}
