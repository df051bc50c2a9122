use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Created, Cursor, Described, Feed, NewSession, Revocation, Revoke, Rotate, Rotation,
    Session, SessionRef, Store,
};
use crate::error::BoxError;

/// A [`Store`] whose type is chosen at run time. Clones share it.
#[derive(Clone)]
pub struct BoxStore(Arc<dyn Erased>);

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn bucket(&self, user: &str) -> u16;
    fn create<'a>(&'a self, new: &'a NewSession) -> Answer<'a, Created>;
    fn describe(&self, session: SessionRef) -> Answer<'_, Option<Described>>;
    fn rotate<'a>(&'a self, request: &'a Rotate) -> Answer<'a, Rotation>;
    fn revoke<'a>(
        &'a self,
        scope: &'a Revoke,
        publish: Duration,
    ) -> Answer<'a, Vec<Revocation>>;
    fn sessions<'a>(&'a self, user: &'a str) -> Answer<'a, Vec<Session>>;
    fn revocations<'a>(
        &'a self,
        since: Option<&'a Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Answer<'a, Feed>;
    fn heartbeat(&self, every: Duration) -> Answer<'_, ()>;
}

impl<S: Store> Erased for S {
    fn bucket(&self, user: &str) -> u16 {
        Store::bucket(self, user)
    }

    fn create<'a>(&'a self, new: &'a NewSession) -> Answer<'a, Created> {
        Box::pin(Store::create(self, new))
    }

    fn describe(&self, session: SessionRef) -> Answer<'_, Option<Described>> {
        Box::pin(Store::describe(self, session))
    }

    fn rotate<'a>(&'a self, request: &'a Rotate) -> Answer<'a, Rotation> {
        Box::pin(Store::rotate(self, request))
    }

    fn revoke<'a>(
        &'a self,
        scope: &'a Revoke,
        publish: Duration,
    ) -> Answer<'a, Vec<Revocation>> {
        Box::pin(Store::revoke(self, scope, publish))
    }

    fn sessions<'a>(&'a self, user: &'a str) -> Answer<'a, Vec<Session>> {
        Box::pin(Store::sessions(self, user))
    }

    fn revocations<'a>(
        &'a self,
        since: Option<&'a Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Answer<'a, Feed> {
        Box::pin(Store::revocations(self, since, window, wait))
    }

    fn heartbeat(&self, every: Duration) -> Answer<'_, ()> {
        Box::pin(Store::heartbeat(self, every))
    }
}

impl BoxStore {
    /// Of any store.
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl Store for BoxStore {
    fn bucket(&self, user: &str) -> u16 {
        self.0.bucket(user)
    }

    async fn create(&self, new: &NewSession) -> Result<Created, BoxError> {
        self.0.create(new).await
    }

    async fn describe(&self, session: SessionRef) -> Result<Option<Described>, BoxError> {
        self.0.describe(session).await
    }

    async fn rotate(&self, request: &Rotate) -> Result<Rotation, BoxError> {
        self.0.rotate(request).await
    }

    async fn revoke(
        &self,
        scope: &Revoke,
        publish_for: Duration,
    ) -> Result<Vec<Revocation>, BoxError> {
        self.0.revoke(scope, publish_for).await
    }

    async fn sessions(&self, user: &str) -> Result<Vec<Session>, BoxError> {
        self.0.sessions(user).await
    }

    async fn revocations(
        &self,
        since: Option<&Cursor>,
        window: Duration,
        wait: Duration,
    ) -> Result<Feed, BoxError> {
        self.0.revocations(since, window, wait).await
    }

    async fn heartbeat(&self, every: Duration) -> Result<(), BoxError> {
        self.0.heartbeat(every).await
    }
}

impl fmt::Debug for BoxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxStore")
    }
}
