//! Fills the shop with made-up goods, people and orders: the same ones for the same seed.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, NoTls, Transaction};

use crate::confirmations;
use crate::login::{self, Password};
use crate::orders::{Columns, Made, fill, prepare};
use crate::rng::Rng;
use crate::servers::Servers;

const SCHEMA: &str = include_str!("schema.sql");

/// Rows sent with one statement.
const BATCH: usize = 5_000;

/// How far back orders and changes lie, and the day that they count from: 2026-01-01.
const YEAR: u64 = 365 * 86_400;
const NEW_YEAR: u64 = 1_767_225_600;

/// How many users can log in: the first ones, of whom the first one is an admin. They share a
/// password that everybody knows, and its hash, which takes a moment to make: a real user has
/// a password, and so a salt, of their own.
pub(crate) const LOGINS: i64 = 1_000;
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Options of `storefront seed`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// How many products there are.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) products: u32,
    /// How many users there are.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) users: u32,
    /// How many orders there are for each user, on average.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) orders_per_user: u32,
    /// Another seed gives other rows.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
}

/// What was done.
#[derive(Debug, Serialize)]
pub(crate) struct Seeded {
    pub(crate) products: u32,
    pub(crate) users: u32,
    pub(crate) orders: u64,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
}

/// Replaces everything in the schema `storefront` with the rows of `sizes`, all or nothing on
/// each server: the shards of the topology in the file `shards` come first.
///
/// # Errors
///
/// When no server of `servers` that takes writes can be reached, nor all of the shards, or one
/// of them refuses a statement; nothing has changed on that one then.
pub(crate) async fn run(
    servers: Servers,
    sizes: Sizes,
    shards: Option<&Path>,
) -> Result<Seeded, Box<dyn Error>> {
    let mut client = primary(servers).await?;
    let start = Instant::now();
    let orders = u64::from(sizes.users) * u64::from(sizes.orders_per_user);
    let made = (0..orders).map(move |index| made_order(sizes, index));
    if let Some(file) = shards {
        fill(&prepare(file).await?, made.clone()).await?;
    }

    let tx = client.transaction().await?;
    // Two seeds at once take turns.
    tx.execute("SELECT pg_advisory_xact_lock(hashtext('storefront'))", &[]).await?;
    tx.batch_execute(SCHEMA).await?;
    tx.batch_execute(&confirmations::schema()).await?;
    tx.batch_execute(
        "TRUNCATE storefront.products, storefront.users, storefront.logins, storefront.orders,
         storefront.outbox, storefront.confirmations,
         storefront.unsettled_orders, storefront.settings RESTART IDENTITY",
    )
    .await?;
    let settings = "INSERT INTO storefront.settings (orders_on_shards) VALUES ($1)";
    tx.execute(settings, &[&shards.is_some()]).await?;
    products(&tx, sizes).await?;
    users(&tx, sizes).await?;
    logins(&tx).await?;
    if shards.is_none() {
        place_orders(&tx, made).await?;
    }
    tx.commit().await?;
    tidy(&client).await?;

    Ok(Seeded {
        products: sizes.products,
        users: sizes.users,
        orders,
        seed: sizes.seed,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// A connection to the server that takes writes.
async fn primary(servers: Servers) -> Result<Client, Box<dyn Error>> {
    let mut refusal = None;
    for mut config in servers.0 {
        config.connect_timeout(Duration::from_secs(5)).application_name("storefront-seed");
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        match config.connect(NoTls).await {
            Ok((client, connection)) => {
                // It ends with `client`, whose calls report its errors.
                tokio::spawn(connection);
                return Ok(client);
            }
            Err(e) => refusal = Some(e),
        }
    }
    Err(refusal.map_or_else(|| "no server is given".into(), Into::into))
}

async fn products(tx: &Transaction<'_>, sizes: Sizes) -> Result<(), tokio_postgres::Error> {
    let insert = tx
        .prepare(
            "INSERT INTO storefront.products
             SELECT id, name, description, price, stock, to_timestamp(at)
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
                         $6::float8[]) AS new (id, name, description, price, stock, at)",
        )
        .await?;
    let ids: Vec<i64> = (1..=i64::from(sizes.products)).collect();
    for ids in ids.chunks(BATCH) {
        let made: Vec<Goods> =
            ids.iter().map(|&id| Goods::new(sizes.seed, id as u64)).collect();
        let names: Vec<&str> = made.iter().map(|g| g.name.as_str()).collect();
        let descriptions: Vec<&str> = made.iter().map(|g| g.description.as_str()).collect();
        let prices: Vec<i64> = made.iter().map(|g| g.price_cents).collect();
        let stocks: Vec<i64> = made.iter().map(|g| g.stock).collect();
        let times: Vec<f64> = made.iter().map(|g| g.updated_at).collect();
        tx.execute(&insert, &[&ids, &names, &descriptions, &prices, &stocks, &times]).await?;
    }
    Ok(())
}

async fn users(tx: &Transaction<'_>, sizes: Sizes) -> Result<(), tokio_postgres::Error> {
    let insert = tx
        .prepare(
            "INSERT INTO storefront.users
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[])",
        )
        .await?;
    let ids: Vec<i64> = (1..=i64::from(sizes.users)).collect();
    for ids in ids.chunks(BATCH) {
        let made: Vec<Person> =
            ids.iter().map(|&id| Person::new(sizes.seed, id as u64)).collect();
        let names: Vec<&str> = made.iter().map(|p| p.name.as_str()).collect();
        let emails: Vec<&str> = made.iter().map(|p| p.email.as_str()).collect();
        let cities: Vec<&str> = made.iter().map(|p| p.city).collect();
        tx.execute(&insert, &[&ids, &names, &emails, &cities]).await?;
    }
    Ok(())
}

async fn logins(tx: &Transaction<'_>) -> Result<(), Box<dyn Error>> {
    let hash = login::hash(&Password::from(PASSWORD))?;
    let insert = "INSERT INTO storefront.logins
         SELECT id, $1, CASE WHEN id = 1 THEN '{admin}' ELSE '{}' END::text[]
         FROM storefront.users WHERE id <= $2";
    tx.execute(insert, &[&hash, &LOGINS]).await?;
    Ok(())
}

async fn place_orders(
    tx: &Transaction<'_>,
    mut made: impl Iterator<Item = Made>,
) -> Result<(), tokio_postgres::Error> {
    let insert = tx
        .prepare(
            "INSERT INTO storefront.orders (user_id, product_id, quantity, placed_at)
             SELECT user_id, product_id, quantity, to_timestamp(at)
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::float8[])
                  AS new (user_id, product_id, quantity, at)",
        )
        .await?;
    while let Some(orders) = Columns::next(&mut made) {
        let Columns { users, products, quantities, times, .. } = orders;
        tx.execute(&insert, &[&users, &products, &quantities, &times]).await?;
    }
    Ok(())
}

/// The same one wherever it is.
fn made_order(sizes: Sizes, index: u64) -> Made {
    let mut rng = Rng::stream(sizes.seed ^ ORDERS, index);
    Made {
        id: 1 + index as i64,
        user: 1 + rng.below(u64::from(sizes.users)) as i64,
        product: 1 + rng.below(u64::from(sizes.products)) as i64,
        quantity: 1 + rng.below(3) as i64,
        at: past(&mut rng),
    }
}

/// Gives the planner its figures, so that the first run is as quick as the tenth.
async fn tidy(client: &Client) -> Result<(), tokio_postgres::Error> {
    // A transaction of its own each: VACUUM runs in no other.
    for table in ["products", "users", "logins", "orders"] {
        client.execute(&format!("VACUUM ANALYZE storefront.{table}"), &[]).await?;
    }
    Ok(())
}

// Keep the streams of the three tables apart.
const PEOPLE: u64 = 0x7065_6f70_6c65;
const ORDERS: u64 = 0x6f72_6465_7273;

#[derive(Clone, Debug, PartialEq)]
struct Goods {
    name: String,
    description: String,
    price_cents: i64,
    stock: i64,
    updated_at: f64,
}

impl Goods {
    fn new(seed: u64, id: u64) -> Self {
        let mut rng = Rng::stream(seed, id);
        let (look, stuff, thing) = (rng.pick(&LOOKS), rng.pick(&STUFFS), rng.pick(&THINGS));
        let (made, liked) = (rng.pick(&MADE), rng.pick(&LIKED));
        Self {
            name: format!("{look} {stuff} {thing} No. {id}"),
            description: format!(
                "A {} {thing} of {}, {made}. {liked}",
                look.to_lowercase(),
                stuff.to_lowercase(),
            ),
            price_cents: 199 + rng.below(20_000) as i64,
            stock: 500 + rng.below(9_500) as i64,
            updated_at: past(&mut rng),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Person {
    name: String,
    email: String,
    city: &'static str,
}

impl Person {
    fn new(seed: u64, id: u64) -> Self {
        let mut rng = Rng::stream(seed ^ PEOPLE, id);
        let (first, last) = (rng.pick(&FIRST_NAMES), rng.pick(&LAST_NAMES));
        Self {
            name: format!("{first} {last}"),
            email: format!("{}.{}.{id}@example.org", first.to_lowercase(), last.to_lowercase()),
            city: rng.pick(&CITIES),
        }
    }
}

/// By which user `id` of a shop that was seeded with `seed` logs in.
pub(crate) fn email_of(seed: u64, id: u32) -> String {
    Person::new(seed, id.into()).email
}

/// A second of the year before [`NEW_YEAR`], since the epoch.
fn past(rng: &mut Rng) -> f64 {
    (NEW_YEAR - rng.below(YEAR)) as f64
}

const LOOKS: [&str; 12] = [
    "Plain", "Tall", "Folding", "Quiet", "Sturdy", "Light", "Round", "Narrow", "Patient",
    "Bright", "Modest", "Curved",
];
const STUFFS: [&str; 10] =
    ["Oak", "Linen", "Brass", "Felt", "Slate", "Birch", "Wool", "Steel", "Cork", "Glass"];
const THINGS: [&str; 14] = [
    "lamp", "chair", "kettle", "shelf", "bowl", "clock", "blanket", "stool", "tray", "vase",
    "desk", "mirror", "basket", "bench",
];
const MADE: [&str; 5] = [
    "made to be mended",
    "finished by hand",
    "cut from one piece",
    "built in small numbers",
    "tested for ten years of use",
];
const LIKED: [&str; 5] = [
    "Goes with everything that is not in a hurry.",
    "Packs flat; the tool is in the box.",
    "Wipe with a damp cloth.",
    "Every one differs a little.",
    "The colour deepens with time.",
];
const FIRST_NAMES: [&str; 12] = [
    "Ada", "Edgar", "Grace", "Barbara", "Tony", "Leslie", "Frances", "Jim", "Radia", "Ken",
    "Lynn", "Niklaus",
];
const LAST_NAMES: [&str; 12] = [
    "Abel", "Brandt", "Castillo", "Dufour", "Eriksen", "Ferrari", "Grant", "Hoang", "Ivanova",
    "Jensen", "Kimura", "Lopez",
];
const CITIES: [&str; 10] = [
    "Aarhus", "Bergamo", "Cork", "Dresden", "Evora", "Fukuoka", "Ghent", "Halifax", "Izmir",
    "Jaipur",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_depends_on_its_seed_and_its_id_alone() {
        assert_eq!(Goods::new(7, 1), Goods::new(7, 1));
        assert_ne!(Goods::new(7, 1), Goods::new(8, 1));
        assert_ne!(Person::new(7, 1), Person::new(7, 2));
        // Published figures rest on these rows: they change with intent only.
        assert_eq!(Goods::new(7, 1).name, "Patient Glass tray No. 1");
        assert_eq!(Person::new(7, 1).email, "grace.kimura.1@example.org");
    }

    #[test]
    fn the_schema_never_drops_anything() {
        let schemas = [SCHEMA.to_owned(), confirmations::schema()].concat();
        assert!(!schemas.to_uppercase().contains("DROP"));
    }
}
