//! The table that is cached, and a way to it that comes back after each fault.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use testbed::link::Link;
use testbed::postgres::{Client, Postgres};
use tokio_postgres::types::Type;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A PostgreSQL with `rows` rows at version 1, behind a link that can fail.
pub(crate) struct Database {
    pub(crate) postgres: Postgres,
    pub(crate) link: Link,
}

impl Database {
    pub(crate) async fn with_rows(rows: i64) -> Self {
        let postgres = Postgres::start().await.unwrap();
        let fill = format!(
            "CREATE TABLE rows (key bigint PRIMARY KEY, version bigint NOT NULL);
             INSERT INTO rows SELECT key, 1 FROM generate_series(0, {rows} - 1) key;
             ANALYZE rows"
        );
        postgres.client().await.unwrap().batch_execute(&fill).await.unwrap();
        let link = Link::to(postgres.addr()).unwrap();
        Self { postgres, link }
    }

    /// Connections that the link can harm; `name` is what the server calls them.
    pub(crate) fn source(&self, name: &str) -> Arc<Source> {
        let url = format!("{}?application_name={name}", self.postgres.url_at(self.link.addr()));
        Arc::new(Source { url, idle: Mutex::new(Vec::new()), asked: AtomicU64::new(0) })
    }

    /// Connections that nothing but the server itself can harm.
    pub(crate) fn direct(&self) -> Arc<Source> {
        let url = self.postgres.url();
        Arc::new(Source { url, idle: Mutex::new(Vec::new()), asked: AtomicU64::new(0) })
    }
}

/// Connections that are kept while they are good. One that failed, or whose
/// question was given up, is closed.
pub(crate) struct Source {
    url: String,
    idle: Mutex<Vec<Client>>,
    asked: AtomicU64,
}

impl Source {
    /// How many reads were begun.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) async fn version(self: Arc<Self>, key: i64) -> Result<Option<i64>, BoxError> {
        Ok(self.versions(vec![key]).await?.pop().map(|(_, version)| version))
    }

    pub(crate) async fn versions(
        self: Arc<Self>,
        keys: Vec<i64>,
    ) -> Result<Vec<(i64, i64)>, BoxError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let client = self.client().await?;
        let rows = client
            .query_typed(
                "SELECT key, version FROM rows WHERE key = ANY ($1)",
                &[(&keys, Type::INT8_ARRAY)],
            )
            .await?;
        self.keep(client);
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Raises the version and commits; an error leaves open whether it did.
    pub(crate) async fn raise(&self, key: i64, in_two_steps: bool) -> Result<i64, BoxError> {
        const RAISE: &str =
            "UPDATE rows SET version = version + 1 WHERE key = $1 RETURNING version";
        let mut client = self.client().await?;
        let version = if in_two_steps {
            let transaction = client.transaction().await?;
            let rows = transaction.query_typed(RAISE, &[(&key, Type::INT8)]).await?;
            transaction.commit().await?;
            rows[0].get(0)
        } else {
            client.query_typed(RAISE, &[(&key, Type::INT8)]).await?[0].get(0)
        };
        self.keep(client);
        Ok(version)
    }

    async fn client(&self) -> Result<Client, BoxError> {
        while let Some(client) = self.idle().pop() {
            if !client.is_closed() {
                return Ok(client);
            }
        }
        Ok(Client::connect(&self.url).await?)
    }

    fn keep(&self, client: Client) {
        self.idle().push(client);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap()
    }
}
