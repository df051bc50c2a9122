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
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::counts::Counts;
use super::mail::{Mail, Post};
use super::outage::Outage;
use super::outbox::{Claim, Job, Outbox};
use super::places::Where;
use super::queue::Queue;
use super::verdict::{Retries, Verdict};
use crate::redis_url::RedisUrl;
use crate::shutdown::asked_to_stop;

/// How long a worker without a job waits until it asks again: longer and longer.
const IDLE: Duration = Duration::from_millis(10);
const IDLE_MOST: Duration = Duration::from_millis(200);

/// How often it is tried again to take down what was sent.
const RECORD: Duration = Duration::from_millis(250);

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
    let (later, unrecorded) = mpsc::unbounded_channel();
    let works = (0..settings.parallel).map(|_| this.work(stopping.subscribe(), later.clone()));
    let works = join_all(works.collect::<Vec<_>>());
    // The loops have theirs: it is over when they are.
    drop(later);
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
        _ = async { tokio::join!(works, this.catch_up(unrecorded), asked) } => {}
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

/// What was sent, and until when it is this worker's to take it down.
type Later = mpsc::UnboundedSender<(Claim, Instant)>;

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
    async fn work(&self, mut stopping: watch::Receiver<bool>, later: Later) {
        let mut idle = IDLE;
        while !*stopping.borrow() {
            match self.queue.take(self.lease).await {
                Ok(Some(job)) => {
                    self.redis.answered();
                    idle = IDLE;
                    self.see_to(job, &later).await;
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
    async fn see_to(&self, job: Job, later: &Later) {
        let begun = Instant::now();
        match self.outbox.claim(job, self.lease).await {
            Ok(Some(claim)) => {
                self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
                self.attempt(claim, begun, later).await;
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

    async fn attempt(&self, claim: Claim, begun: Instant, later: &Later) {
        let verdict = match self.retries.before(claim.attempts) {
            Some(verdict) => verdict,
            // This process was held up: its turn might end while it sends.
            None if begun.elapsed() + self.patience >= self.lease => {
                return Counts::more(&self.counts.late);
            }
            None => {
                let answer = self.post.send(&claim).await;
                self.retries.verdict(answer, claim.attempts, fastrand::f64())
            }
        };
        let order = claim.job.order;
        let writing = async {
            match &verdict {
                Verdict::Confirmed => self.outbox.record(&claim).await,
                Verdict::Again { after, why } => self.outbox.release(&claim, *after, why).await,
                Verdict::SetAside { why } => {
                    warn!(order, "a confirmation is set aside: {why}");
                    self.outbox.set_aside(&claim, why).await
                }
            }
        };
        let (written, ()) = tokio::join!(writing, self.leave(claim.job));
        let count = match verdict {
            Verdict::Confirmed => &self.counts.confirmed,
            Verdict::Again { .. } => &self.counts.retried,
            Verdict::SetAside { .. } => &self.counts.set_aside,
        };
        match written {
            Ok(true) => Counts::more(count),
            Ok(false) => Counts::more(&self.counts.late),
            Err(error) => {
                let error = &error as &dyn Error;
                debug!(order, error, "what came of it is not taken down");
                if verdict == Verdict::Confirmed {
                    // Nobody hears it only when all is over.
                    let _ = later.send((claim, begun + self.lease));
                }
            }
        }
    }

    /// Takes down what was sent, and what its shard could not be told at once: it would be sent
    /// again otherwise. Each until its turn is over; meanwhile other jobs go on. If it has
    /// happened, and the answer was lost, the row is gone.
    async fn catch_up(&self, mut unrecorded: mpsc::UnboundedReceiver<(Claim, Instant)>) {
        let (mut waiting, mut more) = (Vec::new(), true);
        while more || !waiting.is_empty() {
            tokio::select! {
                one = unrecorded.recv(), if more => match one {
                    Some(one) => waiting.push(one),
                    None => more = false,
                },
                () = sleep(RECORD), if !waiting.is_empty() => {
                    let asked = waiting.iter().map(|(claim, _)| self.outbox.record(claim));
                    let mut answers = join_all(asked).await.into_iter();
                    waiting.retain(|(_, over)| match answers.next() {
                        Some(Ok(true)) => { Counts::more(&self.counts.confirmed); false }
                        Some(Ok(false)) => { Counts::more(&self.counts.late); false }
                        _ => Instant::now() < *over,
                    });
                }
            }
        }
    }

    async fn leave(&self, job: Job) {
        // Otherwise it is taken once more, in vain.
        let _ = self.queue.done(job).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn a_turn_is_longer_than_sending_takes() {
        let check = |words: &[&str]| {
            let words = [&["work", "--redis", "redis://a"], words].concat();
            Words::try_parse_from(words).unwrap().settings.check()
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--lease", "2001", "--mail-timeout", "2000"]), Ok(()));
        let error = check(&["--lease", "2000", "--mail-timeout", "2000"]).unwrap_err();
        assert!(error.contains("--lease 2000"), "{error}");
    }
}
