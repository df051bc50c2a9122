use std::sync::Arc;
use std::{error, fmt};

use http::Uri;

use super::core::Core;
use super::fleet::Event;
use super::marks::Mark;
use super::target::Target;

/// Takes responses out of a cache before their time. A clone is of the same cache.
///
/// A purge reaches what is stored and what is under way: a response that was asked for before
/// the purge returned is not served to who comes after it, and never stored. It looks at no
/// entry: its cost does not depend on how many there are.
///
/// Where [servers share](super::HttpCacheBuilder::l2) what is stored, `Ok` means that it holds
/// on all of them. So it takes as long as the
/// [bound](super::HttpCacheBuilder::staleness_bound), unless it is [told not to
/// wait](Self::at_once).
///
/// A *soft* purge makes stale: what it reaches is revalidated at its next use, or may be served
/// under stale-while-revalidate and stale-if-error.
///
/// ```
/// use cache_aside::http::HttpCacheLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = HttpCacheLayer::in_memory(64 << 20);
/// let purge = cache.purge();
/// purge.uri(&"http://example.org/a".parse()?).await?;
/// purge.prefix(&"http://example.org/articles".parse()?).await?; // and /articles/1, not /articles-x
/// purge.soft().group(&"http://example.org".parse()?, "prices").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Purge {
    core: Arc<Core>,
    soft: bool,
    waits: bool,
}

impl Purge {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, soft: false, waits: true }
    }

    /// The same, which makes stale in place of taking out.
    #[must_use]
    pub fn soft(&self) -> Self {
        Self { soft: true, ..self.clone() }
    }

    /// Does not wait until other servers have heard of it: what it means is true then within
    /// the [bound](super::HttpCacheBuilder::staleness_bound). In one process there is nothing
    /// to wait for.
    #[must_use]
    pub fn at_once(&self) -> Self {
        Self { waits: false, ..self.clone() }
    }

    /// Purges one URI, with its query, and all its variants.
    ///
    /// # Errors
    ///
    /// If it has no scheme or host, or other servers do not know of it yet.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges here. Dropped later, other servers are told all the same.
    pub async fn uri(&self, uri: &Uri) -> Result<(), PurgeError> {
        let target = self.target(uri)?;
        self.announce(Event::of(&Mark::Uri(&target.key), self.soft)).await
    }

    /// Purges all URIs of the same scheme and host whose path is this one or goes on after it
    /// with a `/`, whatever their query. Past 16 segments a path is not told apart: more is
    /// purged then.
    ///
    /// # Errors
    ///
    /// If it has no scheme or host, or other servers do not know of it yet.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges here. Dropped later, other servers are told all the same.
    pub async fn prefix(&self, uri: &Uri) -> Result<(), PurgeError> {
        let target = self.target(uri)?;
        self.announce(Event::of(&Mark::Prefix(target.as_prefix()), self.soft)).await
    }

    /// Purges the responses of an origin (its scheme and host count, the rest of the URI does
    /// not) whose `Cache-Groups` have this name (RFC 9875).
    ///
    /// # Errors
    ///
    /// If the URI has no scheme or host, or other servers do not know of it yet.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges here. Dropped later, other servers are told all the same.
    pub async fn group(&self, origin: &Uri, name: &str) -> Result<(), PurgeError> {
        let target = self.target(origin)?;
        let group = Mark::Group(target.origin(), name.as_bytes());
        self.announce(Event::of(&group, self.soft)).await
    }

    /// Purges everything; never softly.
    ///
    /// # Errors
    ///
    /// If other servers do not know of it yet.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges here. Dropped later, other servers are told all the same.
    pub async fn all(&self) -> Result<(), PurgeError> {
        self.announce(Event::All).await
    }

    async fn announce(&self, event: Event) -> Result<(), PurgeError> {
        self.core.announce(event).await.map_err(|_| PurgeError::Unacknowledged)?;
        if let Some(fleet) = &self.core.fleet
            && self.waits
        {
            // Who has not heard of it by then serves nothing of what he has.
            tokio::time::sleep(fleet.bound()).await;
        }
        Ok(())
    }

    fn target(&self, uri: &Uri) -> Result<Target, PurgeError> {
        self.core.settings.keys.of_uri(uri).ok_or(PurgeError::NoHost)
    }
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("soft", &self.soft).finish_non_exhaustive()
    }
}

/// Why something was not purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PurgeError {
    /// The URI does not say of which scheme and host, or has user information.
    NoHost,
    /// It was purged here; the store that servers share has not acknowledged it. That is tried
    /// again until it has, and until then this server does not ask it for anything.
    Unacknowledged,
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => {
                "the URI has no scheme or host; write it as in `http://example.org/path`"
            }
            Self::Unacknowledged => {
                "purged on this server, and to be purged on the others as soon as the shared \
                 store can be told"
            }
        })
    }
}

impl error::Error for PurgeError {}
