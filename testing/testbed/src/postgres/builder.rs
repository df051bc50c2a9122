use std::sync::Arc;

use super::{Postgres, template};
use crate::error::Error;
use crate::locate;
use crate::server::Server;

/// For speed and for tests; a name that is set again wins over these.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    // A killed process loses nothing by this; only a killed machine would.
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("checkpoint_timeout", "30min"),
    ("max_wal_size", "512MB"),
    ("shared_buffers", "64MB"),
    ("max_connections", "200"),
    ("max_prepared_transactions", "64"),
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    // A replica that was cut off finds what it missed.
    ("wal_keep_size", "512MB"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("wal_receiver_status_interval", "1s"),
    // In the data folder, so that nothing is left in /dev/shm by a crash.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
];

/// Builds a [`Postgres`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresBuilder {
    settings: Vec<(String, String)>,
    databases: Vec<String>,
}

impl PostgresBuilder {
    pub(super) fn new() -> Self {
        let settings =
            SETTINGS.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { settings, databases: Vec::new() }
    }

    /// Sets a configuration parameter, as in `postgresql.conf`. Replicas have it too.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Creates a database beside `postgres`.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] with the line that installs PostgreSQL;
    /// [`Error::Exited`] or [`Error::NotReady`] with the server's log, as when
    /// a setting is wrong; [`Error::Sql`] when a database cannot be created.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing stays behind.
    pub async fn start(self) -> Result<Postgres, Error> {
        let bin = locate::postgres().map_err(Error::Missing)?;
        let server = Server::new("postgres", super::forget_shared_memory).await?;
        let postgres = Postgres { bin: Arc::from(bin), server };
        template::copy_to(&postgres.bin, &postgres.data()).await?;
        template::write_settings(&postgres.data().join("testbed.conf"), &self.settings)?;
        postgres.launch().await?;
        if !self.databases.is_empty() {
            let client = postgres.client().await?;
            for name in &self.databases {
                let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
                let created = client.batch_execute(&create).await;
                created.map_err(Error::sql(format!("creating the database {name}")))?;
            }
        }
        Ok(postgres)
    }
}
