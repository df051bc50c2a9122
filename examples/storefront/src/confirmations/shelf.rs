//! `storefront confirmations list` and `retry`: what was set aside.

use std::error::Error;

use clap::Args;
use futures_util::future::join_all;

use super::outbox;
use super::places::Where;

/// Options of `storefront confirmations list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    places: Where,
    /// How many of each shard, the first ones first.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    most: u32,
    /// One line of JSON for each.
    #[arg(long)]
    json: bool,
}

/// Options of `storefront confirmations retry`.
#[derive(Args, Debug)]
pub(crate) struct Retry {
    #[command(flatten)]
    places: Where,
    /// The numbers of their orders.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    orders: Vec<i64>,
    /// All that were set aside.
    #[arg(long)]
    all: bool,
}

/// Prints what was set aside.
///
/// # Errors
///
/// When a shard does not answer; those of the others are printed.
pub(super) async fn list(options: List) -> Result<(), Box<dyn Error>> {
    let places = options.places.open().await?.all();
    let most = i64::from(options.most);
    let lists = join_all(places.iter().map(|place| outbox::list(place, most))).await;
    let mut missing = Ok(());
    for (place, list) in places.iter().zip(lists) {
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                missing = Err(format!("shard {} is missing: {error}", place.name).into());
                continue;
            }
        };
        for one in list {
            if options.json {
                println!("{}", serde_json::to_string(&one)?);
            } else {
                let why = one.last_error.as_deref().unwrap_or("for no known reason");
                println!(
                    "order {} of user {} on {}: set aside at {} after {} attempts: {why}",
                    one.order_id, one.user_id, one.shard, one.set_aside_at, one.attempts
                );
            }
        }
    }
    missing
}

/// Has another try at what was set aside; prints how many.
///
/// # Errors
///
/// When a shard does not answer, and where an order that is named was not set aside.
pub(super) async fn retry(options: Retry) -> Result<(), Box<dyn Error>> {
    let places = options.places.open().await?.all();
    let named = (!options.all).then_some(&*options.orders);
    let retried = join_all(places.iter().map(|place| outbox::retry(place, named))).await;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (place, retried) in places.iter().zip(retried) {
        match retried {
            Ok(orders) => found.extend(orders),
            Err(error) => missing.push(format!("shard {} is missing: {error}", place.name)),
        }
    }
    println!("{}", found.len());
    if missing.is_empty() {
        let unknown = options.orders.iter().filter(|order| !found.contains(order));
        missing.extend(unknown.map(|order| format!("order {order} was not set aside")));
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ").into()) }
}
