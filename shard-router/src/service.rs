use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower_service::Service;

use crate::error::Error;
use crate::future::ResponseFuture;
use crate::key::ShardKey;
use crate::map::ShardName;
use crate::router::Router;

/// Calls the inner service of the shard that owns a request's key: a service for each shard,
/// made when it is first needed, by the router's map of that moment.
///
/// ```
/// use shard_router::{KeyType, Router, ShardName, ShardService, SlotMap, Topology};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let map = SlotMap::even(["a", "b"])?;
/// let topology = Topology::new(map, [KeyType::Int])?.shard("a", "host=a")?.shard("b", "host=b")?;
/// let router = Router::builder(topology).build()?;
/// let service = ShardService::new(router.clone(), |user: &i64| *user, |shard: &ShardName| {
///     let shard = shard.clone();
///     service_fn(move |user: i64| {
///         let answer = format!("{user} is on {shard}");
///         async move { Ok::<_, std::convert::Infallible>(answer) }
///     })
/// });
/// let expected = format!("42 is on {}", router.shard_of(&42_i64)?);
/// assert_eq!(service.oneshot(42).await?, expected);
/// # Ok(())
/// # }
/// ```
///
/// # Readiness
///
/// *Deferred*: always ready; the answer readies the inner service of the key's shard, so that one
/// busy shard does not hold up the others. A limit over all shards belongs above.
///
/// # Errors
///
/// [`ServiceError`].
pub struct ShardService<K, M, S, R> {
    router: Router,
    key: K,
    make: M,
    services: Arc<Mutex<HashMap<ShardName, S>>>,
    request: PhantomData<fn(R)>,
}

impl<K, M, S, R> ShardService<K, M, S, R> {
    /// `key` tells a request's key, `make` makes the service of a shard.
    pub fn new<Q>(router: Router, key: K, make: M) -> Self
    where
        K: Fn(&R) -> Q,
        Q: ShardKey,
        M: Fn(&ShardName) -> S,
        S: Service<R> + Clone,
    {
        Self { router, key, make, services: Arc::default(), request: PhantomData }
    }
}

impl<K, M, S, R, Q> Service<R> for ShardService<K, M, S, R>
where
    K: Fn(&R) -> Q,
    Q: ShardKey,
    M: Fn(&ShardName) -> S,
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = ServiceError<S::Error>;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let shard = match self.router.shard_of(&(self.key)(&request)) {
            Ok(shard) => shard,
            Err(error) => return ResponseFuture::misplaced(error),
        };
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        // A clone that nobody has polled: the future readies it.
        let service = services.entry(shard).or_insert_with_key(&self.make).clone();
        drop(services);
        ResponseFuture::new(service, request)
    }
}

impl<K: Clone, M: Clone, S, R> Clone for ShardService<K, M, S, R> {
    fn clone(&self) -> Self {
        Self {
            router: self.router.clone(),
            key: self.key.clone(),
            make: self.make.clone(),
            services: Arc::clone(&self.services),
            request: PhantomData,
        }
    }
}

impl<K, M, S, R> fmt::Debug for ShardService<K, M, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardService").field("router", &self.router).finish_non_exhaustive()
    }
}

/// Why a [`ShardService`] has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceError<E> {
    /// The request's key has no place.
    Placement(Error),
    /// The shard's service has failed.
    Inner(E),
}

impl<E> fmt::Display for ServiceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placement(_) => "the request has no shard",
            Self::Inner(_) => "the shard's service has failed",
        })
    }
}

impl<E: StdError + 'static> StdError for ServiceError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Placement(error) => Some(error),
            Self::Inner(error) => Some(error),
        }
    }
}
