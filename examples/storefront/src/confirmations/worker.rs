//! `storefront confirmations work`: takes jobs from the queue, one after the other, and sends
//! confirmations.

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::counts::Counts;
use super::mail::{Mail, Post};
use super::outage::Outage;
use super::outbox::{Claim, Job, Outbox};
use super::places::Where;
use super::queue::Queue;
use super::verdict::{Retries, Verdict};
use crate::db::DbError;
use crate::redis_url::RedisUrl;
use crate::shutdown::asked_to_stop;

/// How long a worker without a job waits until it asks again: longer and longer.
const IDLE: Duration = Duration::from_millis(10);
const IDLE_MOST: Duration = Duration::from_millis(200);

/// How often it is tried to take down what was sent.
const RECORDS: u32 = 5;

/// Options of a worker.
#[derive(Args, Clone, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) places: Where,
    /// redis://user:password@host:port/database of the queue. It may be down.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(super) redis: RedisUrl,
    #[command(flatten)]
    pub(super) mail: Mail,
    #[command(flatten)]
    pub(super) retries: Retries,
    /// How many jobs a worker does at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) parallel: u16,
    /// For how many milliseconds a job is one worker's. After that another one may have it, so
    /// it is more than `--mail-timeout`, by what the databases may take.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(super) lease: u64,
}

impl Settings {
    /// # Errors
    ///
    /// When another worker could send what this one is sending.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.lease <= self.mail.mail_timeout {
            return Err(format!(
                "--lease {} ends before the mail service is given up, after {}: a confirmation \
                 would be sent twice; make it longer by what the databases may take",
                self.lease, self.mail.mail_timeout
            ));
        }
        Ok(())
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease)
    }
}

/// Works until it is asked to stop, or, as `worker`, until whoever has started it is gone; then
/// it finishes what it has in hand.
///
/// # Errors
///
/// When it cannot start.
pub(super) async fn run(settings: Settings, worker: Option<u64>) -> Result<(), Box<dyn Error>> {
    settings.check()?;
    let stop = asked_to_stop()?;
    let this = Worker {
        outbox: Outbox::new(settings.places.open().await?),
        // It pushes nothing.
        queue: Queue::open(&settings.redis, 0)?,
        post: Post::new(&settings.mail),
        retries: settings.retries,
        lease: settings.lease(),
        patience: settings.mail.patience(),
        counts: Counts::default(),
        redis: Outage::of("Redis"),
    };
    let stopping = watch::Sender::new(false);
    let works = (0..settings.parallel).map(|_| this.work(stopping.subscribe()));
    let stdin = worker.map(|_| stdin()).transpose()?;
    let alone = async {
        match stdin {
            Some(stdin) => left_alone(stdin).await,
            None => std::future::pending().await,
        }
    };
    let asked = async {
        tokio::select! {
            () = stop => info!("asked to stop: finishing what is in hand"),
            () = alone => info!("left alone: finishing what is in hand"),
        }
        stopping.send_replace(true);
    };
    let told = async {
        match worker {
            Some(number) => this.counts.tell(number).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = async { tokio::join!(join_all(works), asked) } => {}
        () = told => {}
    }
    match worker {
        Some(number) => this.counts.tell_once(number),
        None => println!("{}", serde_json::to_string(&this.counts.line(0))?),
    }
    Ok(())
}

/// Until the other end of `stdin` is closed, which nobody writes to.
async fn left_alone(mut stdin: pipe::Receiver) {
    let mut nothing = [0];
    while stdin.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

/// Not tokio's, which reads on a thread that keeps the process from ending.
fn stdin() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
}

struct Worker {
    outbox: Outbox,
    queue: Queue,
    post: Post,
    retries: Retries,
    lease: Duration,
    patience: Duration,
    counts: Counts,
    redis: Outage,
}

impl Worker {
    async fn work(&self, mut stopping: watch::Receiver<bool>) {
        let mut idle = IDLE;
        while !*stopping.borrow() {
            match self.queue.take(self.lease).await {
                Ok(Some(job)) => {
                    self.redis.answered();
                    idle = IDLE;
                    self.see_to(job).await;
                    continue;
                }
                Ok(None) => self.redis.answered(),
                Err(error) => self.redis.failed(&error),
            }
            tokio::select! {
                () = sleep(idle) => {}
                // An error would mean that nobody can ask any more.
                _ = stopping.wait_for(|asked| *asked) => {}
            }
            idle = (2 * idle).min(IDLE_MOST);
        }
    }

    /// Nothing is lost wherever this ends: the turn ends by itself, and the relay puts the job
    /// into the queue again.
    async fn see_to(&self, job: Job) {
        let begun = Instant::now();
        match self.outbox.claim(job, self.lease).await {
            Ok(Some(claim)) => {
                self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
                self.attempt(&claim, begun).await;
                self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            // It is confirmed, set aside, too early, or somebody else's turn.
            Ok(None) => self.leave(job).await,
            // The shard is down. Its jobs do not keep those of others waiting in the queue.
            Err(error) => {
                debug!(order = job.order, error = &error as &dyn Error, "no turn was given");
                self.leave(job).await;
            }
        }
    }

    async fn attempt(&self, claim: &Claim, begun: Instant) {
        let verdict = match self.retries.before(claim.attempts) {
            Some(verdict) => verdict,
            // This process was held up: its turn might end while it sends.
            None if begun.elapsed() + self.patience >= self.lease => {
                return Counts::more(&self.counts.late);
            }
            None => {
                let answer = self.post.send(claim).await;
                self.retries.verdict(answer, claim.attempts, fastrand::f64())
            }
        };
        // First: what is in the queue from here on was put there after this attempt.
        self.leave(claim.job).await;
        let (written, count) = match &verdict {
            Verdict::Confirmed => (self.record(claim).await, &self.counts.confirmed),
            Verdict::Again { after, why } => {
                (self.outbox.release(claim, *after, why).await, &self.counts.retried)
            }
            Verdict::SetAside { why } => {
                warn!(order = claim.job.order, "a confirmation is set aside: {why}");
                (self.outbox.set_aside(claim, why).await, &self.counts.set_aside)
            }
        };
        match written {
            Ok(true) => Counts::more(count),
            Ok(false) => Counts::more(&self.counts.late),
            Err(error) => {
                let error = &error as &dyn Error;
                debug!(order = claim.job.order, error, "what came of it is not taken down");
            }
        }
    }

    /// What was sent would be sent again otherwise, so this does not give up at once. If an
    /// answer is lost, the next one says that the turn is over, since the row is gone.
    async fn record(&self, claim: &Claim) -> Result<bool, DbError> {
        let mut pause = IDLE_MOST;
        for _ in 1..RECORDS {
            match self.outbox.record(claim).await {
                Err(error) if error.is_transient() || error.may_have_happened() => {}
                answer => return answer,
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.outbox.record(claim).await
    }

    async fn leave(&self, job: Job) {
        // Otherwise it is taken once more, in vain.
        let _ = self.queue.done(job).await;
    }
}
