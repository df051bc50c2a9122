use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{Figure, Source};

type Failure = Arc<dyn std::error::Error + Send + Sync>;
type Read<'a> = Pin<Box<dyn Future<Output = Result<Option<Figure>, Failure>> + Send + 'a>>;

trait Erased: Send {
    fn metric(&self) -> &str;
    fn read(&mut self) -> Read<'_>;
}

impl<S: Source + Send> Erased for S {
    fn metric(&self) -> &str {
        Source::metric(self)
    }

    fn read(&mut self) -> Read<'_> {
        Box::pin(async { Source::read(self).await.map_err(|error| Arc::new(error) as Failure) })
    }
}

/// A source whose type is forgotten, so that a list can hold several.
pub struct BoxSource(Box<dyn Erased>);

impl BoxSource {
    /// Forgets the type.
    pub fn new(source: impl Source + Send + 'static) -> Self {
        Self(Box::new(source))
    }

    /// The metric.
    pub fn metric(&self) -> &str {
        self.0.metric()
    }

    /// See [`Source::read`].
    ///
    /// # Errors
    ///
    /// As the source's own.
    pub async fn read(
        &mut self,
    ) -> Result<Option<Figure>, Arc<dyn std::error::Error + Send + Sync>> {
        self.0.read().await
    }
}

impl fmt::Debug for BoxSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxSource").field(&self.metric()).finish()
    }
}
