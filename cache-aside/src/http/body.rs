use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{error, fmt};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::content::Pieces;
use super::stream::Reader;
use crate::error::BoxError;

pin_project! {
    /// The content of an answer: from the store, from a response that others read as well, or
    /// of the inner service, `B`, as it is.
    pub struct Body<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Stored { pieces: Pieces },
        Shared { reader: Reader },
        Inner { #[pin] body: B },
    }
}

impl<B> Body<B> {
    pub(super) fn empty() -> Self {
        Self::stored(Pieces::default())
    }

    pub(super) fn stored(pieces: Pieces) -> Self {
        Self { kind: Kind::Stored { pieces } }
    }

    pub(super) fn shared(reader: Reader) -> Self {
        Self { kind: Kind::Shared { reader } }
    }

    pub(super) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match self.project().kind.project() {
            KindProjection::Stored { pieces } => {
                pieces.next().map(|piece| Ok(Frame::data(piece)))
            }
            KindProjection::Shared { reader } => {
                ready!(reader.poll_next(cx)).map(|chunk| chunk.map(Frame::data))
            }
            KindProjection::Inner { body } => {
                ready!(body.poll_frame(cx)).map(|frame| match frame {
                    Ok(frame) => {
                        Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
                    }
                    Err(error) => Err(BodyError::origin(error)),
                })
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Stored { pieces } => pieces.left() == 0,
            Kind::Shared { reader } => reader.is_over(),
            Kind::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Stored { pieces } => SizeHint::with_exact(pieces.left()),
            Kind::Shared { .. } => SizeHint::default(),
            Kind::Inner { body } => body.size_hint(),
        }
    }
}

impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Stored { .. } => "Body::Stored",
            Kind::Shared { .. } => "Body::Shared",
            Kind::Inner { .. } => "Body::Inner",
        })
    }
}

/// Why a content ended before its end. The connection of its client must be cut, as every
/// server does, so that it is not taken for whole.
#[derive(Clone, Debug)]
pub struct BodyError {
    cause: Cause,
}

#[derive(Clone, Debug)]
enum Cause {
    Origin(Arc<dyn error::Error + Send + Sync>),
    Short,
    Slow,
    Gone,
}

impl BodyError {
    pub(super) fn origin(error: impl Into<BoxError>) -> Self {
        Self { cause: Cause::Origin(error.into().into()) }
    }

    /// Its length is not what the origin said.
    pub(super) fn short() -> Self {
        Self { cause: Cause::Short }
    }

    pub(super) fn too_slow() -> Self {
        Self { cause: Cause::Slow }
    }

    /// Nobody brings the rest.
    pub(super) fn gone() -> Self {
        Self { cause: Cause::Gone }
    }

    /// Whether the client was too far behind the others who read the same response.
    pub fn is_slow_client(&self) -> bool {
        matches!(self.cause, Cause::Slow)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            Cause::Origin(_) => "the origin's content ended before its end",
            Cause::Short => "the origin's content is not as long as it said",
            Cause::Slow => "the client was too far behind others who read the same",
            Cause::Gone => "the task that read the origin's content has ended",
        })
    }
}

impl error::Error for BodyError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.cause {
            Cause::Origin(cause) => Some(&**cause),
            _ => None,
        }
    }
}
