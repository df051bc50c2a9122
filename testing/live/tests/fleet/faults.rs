//! What is done to the fleet while people shop.

use std::time::{Duration, SystemTime};
use std::{fmt, iter};

use live::mail::Mood;
use nix::sys::signal::Signal;
use testbed::eventually;
use tokio::time::sleep;

use super::group::End;
use super::tally::{Excuse, Span};
use super::world::World;

const DEADLINE: Duration = Duration::from_secs(40);

/// How long something is away or stopped.
const AWAY: Duration = Duration::from_millis(1_500);

/// How far behind a replica is made to be, and for how long.
pub(crate) const LAG: Duration = Duration::from_secs(2);

/// How long bytes take to a database that is far away, and as long back.
const FAR: Duration = Duration::from_millis(60);

/// From a promotion on, errors may last so long.
const AFTER_PROMOTION: Duration = Duration::from_secs(3);

/// The group of the shop's database, and that of one shard.
const SHOP: usize = 0;
const SHARD: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WorkerKilled,
    WorkerStopped,
    AllWorkersKilled,
    RedisKilled,
    ReplicaKilled(usize),
    ReplicaLags(usize),
    RollingRestart,
    ScaleIn,
    ConfirmerKilled,
    PrimaryEnds(usize, End),
    /// Workers go while requests take long.
    ScaleInWhileFar,
    /// For comparison.
    Nothing,
}

impl Fault {
    /// Each that may come at any time, once.
    pub(crate) const ALL: [Self; 15] = [
        Self::WorkerKilled,
        Self::WorkerStopped,
        Self::AllWorkersKilled,
        Self::RollingRestart,
        Self::ScaleIn,
        Self::RedisKilled,
        Self::ReplicaLags(SHOP),
        Self::ReplicaLags(SHARD),
        Self::ReplicaKilled(SHOP),
        Self::ReplicaKilled(SHARD),
        Self::ConfirmerKilled,
        Self::PrimaryEnds(SHARD, End::Stopped),
        Self::PrimaryEnds(SHOP, End::Stopped),
        Self::PrimaryEnds(SHARD, End::Killed),
        Self::PrimaryEnds(SHOP, End::Killed),
    ];

    /// All in that order, and then whichever comes.
    pub(crate) fn series(mut rng: fastrand::Rng) -> impl Iterator<Item = Self> {
        let any = iter::repeat_with(move || Self::ALL[rng.usize(..Self::ALL.len())]);
        Self::ALL.into_iter().chain(any)
    }

    /// Does it, mends it, and waits until nothing is left of it.
    pub(crate) async fn befall(self, world: &mut World) -> Span {
        let began = SystemTime::now();
        let excuse = self.befalls(world).await;
        world.settles().await;
        Span { fault: self.to_string(), excuse, began, ended: SystemTime::now() }
    }

    async fn befalls(self, world: &mut World) -> Excuse {
        match self {
            Self::WorkerKilled => {
                let victim = world.worker().await;
                world.front.signal(victim, Signal::SIGKILL).await;
                world.gone(victim).await;
                Excuse::NotIdempotent
            }
            Self::WorkerStopped => {
                let victim = world.worker().await;
                world.front.signal(victim, Signal::SIGSTOP).await;
                sleep(AWAY).await;
                world.front.signal(victim, Signal::SIGCONT).await;
                Excuse::None
            }
            Self::AllWorkersKilled => {
                let victims = world.front.phase("ready").await;
                for victim in &victims {
                    world.front.signal(*victim, Signal::SIGKILL).await;
                }
                for victim in victims {
                    world.gone(victim).await;
                }
                Excuse::NotIdempotent
            }
            Self::RollingRestart => {
                world.front.restart().await;
                Excuse::None
            }
            Self::ScaleIn => {
                more(world).await;
                fewer(world).await;
                Excuse::None
            }
            Self::RedisKilled => {
                world.redis.kill().await.unwrap();
                sleep(AWAY).await;
                world.redis.restart_empty().await.unwrap();
                Excuse::None
            }
            Self::ReplicaLags(group) => {
                world.groups[group].lag(LAG).await;
                sleep(LAG).await;
                world.groups[group].lag(Duration::ZERO).await;
                world.groups[group].caught_up().await;
                Excuse::None
            }
            Self::ReplicaKilled(group) => {
                let replica = world.groups[group].replica();
                replica.kill().await.unwrap();
                sleep(AWAY).await;
                replica.restart().await.unwrap();
                Excuse::None
            }
            Self::ConfirmerKilled => {
                // Each is in the middle of a job for a while.
                world.mail.is(Mood::TakesAfter(Duration::from_millis(300)));
                world.confirmers.kill_one().await;
                world.mail.is(Mood::Takes);
                Excuse::None
            }
            Self::ScaleInWhileFar => {
                more(world).await;
                for group in &world.groups {
                    group.primary_link().delay(FAR);
                }
                // Until there are some on each worker that will not be over in a moment.
                sleep(AWAY).await;
                fewer(world).await;
                for group in &world.groups {
                    group.primary_link().heal();
                }
                Excuse::None
            }
            Self::Nothing => {
                sleep(3 * LAG).await;
                Excuse::None
            }
            Self::PrimaryEnds(group, end) => {
                let tail = world.groups[group].fail_over(end).await;
                if end == End::Killed {
                    world.tails.0.push(tail);
                }
                world.groups[group].refill().await;
                world.groups[group].caught_up().await;
                Excuse::Until(tail.promoted + AFTER_PROMOTION)
            }
        }
    }
}

async fn more(world: &World) {
    world.front.resize(4).await;
    let ready = async || world.front.phase("ready").await.len();
    eventually(DEADLINE, async || ready().await >= 3).await;
}

async fn fewer(world: &World) {
    let before = world.front.phase("ready").await;
    world.front.resize(2).await;
    eventually(DEADLINE, async || {
        // More may have been started since, for the load.
        let workers = world.front.workers().await;
        let is_there = |id: &&u64| workers.iter().any(|worker| worker["id"] == **id);
        before.iter().filter(is_there).count() <= 2
    })
    .await;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |group: &usize| if *group == SHOP { "the shop" } else { "a shard" };
        match self {
            Self::WorkerKilled => write!(f, "a worker is killed"),
            Self::WorkerStopped => write!(f, "a worker stops for {AWAY:?}"),
            Self::AllWorkersKilled => write!(f, "all workers are killed at once"),
            Self::RollingRestart => write!(f, "all workers are replaced, one by one"),
            Self::ScaleIn => write!(f, "4 workers become 2"),
            Self::RedisKilled => write!(f, "Redis is killed, and back empty"),
            Self::ReplicaLags(group) => write!(f, "{}'s replica is {LAG:?} behind", of(group)),
            Self::ConfirmerKilled => write!(f, "who confirms orders is killed at it"),
            Self::ScaleInWhileFar => write!(f, "4 workers become 2, databases {FAR:?} away"),
            Self::Nothing => write!(f, "nothing"),
            Self::ReplicaKilled(group) => write!(f, "{}'s replica is killed", of(group)),
            Self::PrimaryEnds(group, End::Killed) => {
                write!(f, "{}'s primary is killed, promotion", of(group))
            }
            Self::PrimaryEnds(group, End::Stopped) => {
                write!(f, "{}'s primary is shut down, promotion", of(group))
            }
        }
    }
}
