//! One way to read by key, with or without a cache before the database.

use std::sync::Arc;

use crate::db::DbError;
use crate::error::Error;

/// Where reads go.
#[derive(Debug)]
pub(crate) enum ReadPath {
    /// Each read asks the database.
    Database,
}

impl ReadPath {
    /// The value of `key`, or `None` if there is none.
    pub(crate) async fn get<V, F>(
        &self,
        load: impl FnOnce() -> F,
    ) -> Result<Option<Arc<V>>, Error>
    where
        F: Future<Output = Result<Option<V>, DbError>> + Send + 'static,
    {
        match self {
            Self::Database => Ok(load().await?.map(Arc::new)),
        }
    }
}
