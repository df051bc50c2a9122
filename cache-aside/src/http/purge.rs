use std::sync::Arc;
use std::{error, fmt};

use http::Uri;

use super::core::{Core, Mark};
use super::target::Target;

/// Takes responses out of a cache before their time. A clone is of the same cache.
///
/// A purge reaches what is stored and what is under way: a response that was asked for before
/// the purge returned is not served to who comes after it, and never stored. It is done in this
/// process, and looks at no entry: its cost does not depend on how many there are.
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
}

impl Purge {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, soft: false }
    }

    /// The same, which makes stale in place of taking out.
    #[must_use]
    pub fn soft(&self) -> Self {
        Self { soft: true, ..self.clone() }
    }

    /// Purges one URI, with its query, and all its variants.
    ///
    /// # Errors
    ///
    /// If it has no scheme or host.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges.
    pub async fn uri(&self, uri: &Uri) -> Result<(), PurgeError> {
        let target = self.target(uri)?;
        if self.soft {
            self.core.outdated.purge(self.core.mark(Mark::Uri(&target.key)));
        } else {
            self.core.invalidate(&target);
        }
        Ok(())
    }

    /// Purges all URIs of the same scheme and host whose path is this one or goes on after it
    /// with a `/`, whatever their query. Past 16 segments a path is not told apart: more is
    /// purged then.
    ///
    /// # Errors
    ///
    /// If it has no scheme or host.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges.
    pub async fn prefix(&self, uri: &Uri) -> Result<(), PurgeError> {
        let target = self.target(uri)?;
        self.mark(Mark::Prefix(target.as_prefix()));
        Ok(())
    }

    /// Purges the responses of an origin (its scheme and host count, the rest of the URI does
    /// not) whose `Cache-Groups` have this name (RFC 9875).
    ///
    /// # Errors
    ///
    /// If the URI has no scheme or host.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges.
    pub async fn group(&self, origin: &Uri, name: &str) -> Result<(), PurgeError> {
        let target = self.target(origin)?;
        self.mark(Mark::Group(target.origin(), name.as_bytes()));
        Ok(())
    }

    /// Purges everything; never softly.
    ///
    /// # Cancel safety
    ///
    /// The first poll purges.
    pub async fn all(&self) {
        self.core.engine.epochs.bump_all();
        self.core.engine.store.clear();
        self.core.engine.metrics.invalidated_all();
    }

    fn target(&self, uri: &Uri) -> Result<Target, PurgeError> {
        self.core.settings.keys.of_uri(uri).ok_or(PurgeError::NoHost)
    }

    fn mark(&self, mark: Mark<'_>) {
        let marks = if self.soft { &self.core.outdated } else { &self.core.purged };
        marks.purge(self.core.mark(mark));
    }
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("soft", &self.soft).finish_non_exhaustive()
    }
}

/// Why nothing was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PurgeError {
    /// The URI does not say of which scheme and host, or has user information.
    NoHost,
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URI has no scheme or host; write it as in `http://example.org/path`")
    }
}

impl error::Error for PurgeError {}
