use std::fmt;
use std::ops::{Deref, DerefMut};

use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use crate::error::Error;

/// A connection with its driver task; dropped = closed.
///
/// It derefs to [`tokio_postgres::Client`]. The task runs on the runtime that
/// connected.
pub struct Client {
    client: tokio_postgres::Client,
    driver: JoinHandle<()>,
}

impl Client {
    /// Connects to any PostgreSQL.
    ///
    /// # Errors
    ///
    /// [`Error::Sql`] when it cannot be reached, or refuses.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let connected = tokio_postgres::connect(url, NoTls).await;
        let (client, connection) =
            connected.map_err(Error::sql(format!("connecting to {url}")))?;
        // Whoever uses the client meets the connection's error there.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, driver })
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
