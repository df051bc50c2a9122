//! From the outbox to the queue, again and again, until an order is confirmed: Redis may lose
//! all that it holds at any moment, and so may a worker. There may be several relays.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::outage::Outage;
use super::outbox::due;
use super::places::{Place, Places};
use super::queue::Queue;

/// Rows taken with one statement.
const BATCH: usize = 500;

/// Options of the relay.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Pace {
    /// For how many milliseconds the relay waits where nothing was due.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(super) every: u64,
    /// After how many milliseconds an order that is in the queue, or was lost with it, is put
    /// there again.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub(super) push_again: u64,
}

/// Moves what is due, for as long as it is polled. Each place has its own turns: one that is
/// down keeps nobody waiting but its own users.
///
/// # Cancel safety
///
/// Cancel safe: what was not moved is due a while later.
pub(super) async fn relay(places: &Places, queue: &Queue, pace: Pace) -> Infallible {
    let redis = Outage::of("Redis");
    let places = places.all();
    let relays = places.iter().map(|place| of_place(place, queue, pace, &redis));
    join_all(relays).await;
    // There is one place at least, and each goes on for ever.
    std::future::pending().await
}

async fn of_place(place: &Place, queue: &Queue, pace: Pace, redis: &Outage) {
    let shard = Outage::of(format!("shard {}", place.name));
    loop {
        if !turn(place, queue, pace, redis, &shard).await {
            sleep(Duration::from_millis(pace.every)).await;
        }
    }
}

/// Whether there may be more at once.
async fn turn(
    place: &Place,
    queue: &Queue,
    pace: Pace,
    redis: &Outage,
    shard: &Outage,
) -> bool {
    // First: what cannot be pushed is not taken either.
    let Some(room) = heard(queue.room().await, redis) else { return false };
    let most = room.min(BATCH);
    if most == 0 {
        return false;
    }
    let again = Duration::from_millis(pace.push_again);
    let Some(jobs) = heard(due(place, most as i64, again).await, shard) else { return false };
    if jobs.is_empty() {
        return false;
    }
    heard(queue.push(&jobs).await, redis).is_some() && jobs.len() == most
}

fn heard<T, E: Error + 'static>(answer: Result<T, E>, from: &Outage) -> Option<T> {
    match answer {
        Ok(answer) => {
            from.answered();
            Some(answer)
        }
        Err(error) => {
            from.failed(&error);
            None
        }
    }
}
