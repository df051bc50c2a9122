//! Storing a response while it is sent.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::OwnedSemaphorePermit;

use super::age::{Exchange, initial_age};
use super::block::{Block, take_unstorable};
use super::body::BodyError;
use super::content::Content;
use super::core::{Before, Core};
use super::directives::{Fields, RequestDirectives, ResponseDirectives};
use super::entry::{Head, Place, Shared, Stored};
use super::fleet::{Alone, Permit};
use super::groups::{CACHE_GROUPS, names};
use super::lifetime::{Lifetime, lifetime};
use super::marks::Moment;
use super::range::Part;
use super::reuse::Terms;
use super::serve::may_have_content;
use super::storable::{Candidate, Refusal, storable};
use super::stream::{Demand, Stream, WAIT};
use super::target::Target;
use super::update::updated;
use super::vary::Selection;
use crate::epoch::Stamp;
use crate::error::BoxError;

/// A content that nobody reads, and of which nothing comes for this long, is given up.
const IDLE: Duration = Duration::from_secs(30);

/// A response that may be stored.
#[derive(Clone, Copy)]
pub(super) struct Offer<'o> {
    pub(super) target: &'o Target,
    pub(super) method: &'o Method,
    pub(super) client: &'o HeaderMap,
    pub(super) asked: &'o RequestDirectives,
    pub(super) status: StatusCode,
    pub(super) headers: &'o HeaderMap,
    pub(super) exchange: Exchange,
    pub(super) before: Before,
    pub(super) fresh_since: Moment,
    pub(super) shared_fresh_since: Place,
    /// That of its content, if it is known.
    pub(super) length: Option<u64>,
    /// What is known to be there of its content.
    pub(super) part: Option<Part>,
}

/// What is to be stored of it beside its content, or why nothing is.
pub(super) fn offer(core: &Core, offer: Offer<'_>) -> Result<Head, Refusal> {
    let read = Read::of(core, &offer);
    let selection = judge(core, &offer, &read)?;
    Ok(read.head(core, &offer, selection))
}

/// What a response says of itself.
struct Read {
    said: ResponseDirectives,
    lifetime: Lifetime,
    part: Option<Part>,
}

/// By which requests it was chosen, if it may be stored.
fn judge(core: &Core, offer: &Offer<'_>, read: &Read) -> Result<Selection, Refusal> {
    let settings = &core.settings;
    let headers = offer.headers;
    let mut named = headers.get_all(CONTENT_LOCATION).iter();
    let named = named.next().filter(|_| named.next().is_none());
    storable(&Candidate {
        method: offer.method,
        request: offer.client,
        asked: offer.asked,
        status: offer.status,
        headers,
        said: &read.said,
        lifetime: read.lifetime,
        at_target: named.is_some_and(|named| {
            let named = settings.keys.resolve(offer.target, named.as_bytes());
            named.as_ref() == Some(offer.target)
        }),
        part: read.part,
    })?;
    if !settings.stores_cookies && headers.contains_key(http::header::SET_COOKIE) {
        return Err(Refusal::Cookie);
    }
    let selection =
        Selection::of(headers, offer.client, settings.keyed.names()).ok_or(Refusal::Vary)?;
    let length = offer.length.or_else(|| content_length(headers)).unwrap_or_default();
    if length > settings.entry_limit {
        return Err(Refusal::TooLarge);
    }
    Ok(selection)
}

impl Read {
    fn of(core: &Core, offer: &Offer<'_>) -> Self {
        let settings = &core.settings;
        let Offer { status, headers, exchange, .. } = *offer;
        let said = ResponseDirectives::of(headers, &settings.targets);
        let received = exchange.received;
        let lifetime = lifetime(status, headers, &said, received, settings.heuristic);
        let part = offer.part.or_else(|| {
            let asked =
                status == StatusCode::PARTIAL_CONTENT && offer.client.contains_key(RANGE);
            asked.then(|| Part::of(headers)).flatten()
        });
        Self { said, lifetime, part }
    }

    fn head(self, core: &Core, offer: &Offer<'_>, selection: Selection) -> Head {
        let Self { said, lifetime, part } = self;
        let mut kept = offer.headers.clone();
        take_unstorable(&mut kept);
        if part.is_some() {
            kept.remove(CONTENT_RANGE);
            kept.remove(CONTENT_LENGTH);
        }
        // Sections 5.2.2.4 and 5.2.2.7: not stored, or not used without asking, which is as
        // good.
        for restricted in [&said.private, &said.no_cache] {
            if let Fields::Named(names) = restricted {
                names.iter().for_each(|name| drop(kept.remove(name)));
            }
        }
        Head {
            status: offer.status,
            fields: Block::new(&kept),
            terms: Terms::new(&said, lifetime.span()),
            selection,
            part,
            initial_age: initial_age(offer.headers, offer.exchange),
            received: core.now(),
            received_at: offer.exchange.received,
            marks: core.marks(offer.target, &names(offer.headers, &CACHE_GROUPS)),
            since: offer.before.since,
            fresh_since: offer.fresh_since,
            shared: Shared {
                since: offer.before.shared,
                fresh_since: offer.shared_fresh_since,
            },
            used: AtomicU64::new(core.now()),
        }
    }
}

/// What is stored, with the fields of an update.
pub(super) struct Renewed {
    pub(super) head: Head,
    /// Why it is not to be stored so, but is good for the one answer.
    pub(super) refusal: Option<Refusal>,
}

/// What is stored with the fields of a 304, or of a HEAD, which are those that are offered.
pub(super) fn renewed(core: &Core, offered: Offer<'_>, stored: &Stored) -> Renewed {
    let mut update = offered.headers.clone();
    // It says how old the update is, and is not stored.
    let age = update.remove(http::header::AGE);
    take_unstorable(&mut update);
    let mut headers = updated(&stored.head.fields.to_map(), &update);
    if let Some(age) = age {
        headers.insert(http::header::AGE, age);
    }
    let offered = Offer { headers: &headers, ..offered };
    let read = Read::of(core, &offered);
    let (selection, refusal) = match judge(core, &offered, &read) {
        Ok(selection) => (selection, None),
        Err(refusal) => (stored.head.selection.clone(), Some(refusal)),
    };
    Renewed { head: read.head(core, &offered, selection), refusal }
}

/// A length that is said once, or always the same.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let first = lines.next()?.to_str().ok()?;
    if lines.any(|line| line.as_bytes() != first.as_bytes()) {
        return None;
    }
    first.parse().ok()
}

/// A response on its way to its readers and to the store.
pub(super) struct Filing {
    pub(super) head: Arc<Head>,
    pub(super) stream: Arc<Stream>,
    replaced: Option<Stored>,
    unattended: Option<OwnedSemaphorePermit>,
    /// To store it for all servers.
    permit: Option<Permit>,
}

impl Filing {
    pub(super) fn new(head: Arc<Head>, limit: u64) -> Self {
        Self {
            head,
            stream: Stream::new(limit),
            replaced: None,
            unattended: None,
            permit: None,
        }
    }

    /// It has leave to go on when nobody reads it.
    pub(super) fn unattended(self, leave: Option<OwnedSemaphorePermit>) -> Self {
        Self { unattended: leave, ..self }
    }

    /// In place of what the origin was asked about.
    pub(super) fn replacing(self, stale: Option<Stored>) -> Self {
        Self { replaced: stale, ..self }
    }

    pub(super) fn sharing(self, permit: Option<Permit>) -> Self {
        Self { permit, ..self }
    }

    /// Reads the content to its end; stores it if that is where it was to end.
    ///
    /// # Cancel safety
    ///
    /// Dropped before, its readers are told that the rest is not to come.
    pub(super) async fn run<R>(
        self,
        core: &Arc<Core>,
        target: &Target,
        hash: u64,
        stamp: Stamp,
        body: R,
    ) where
        R: HttpBody,
        R::Error: Into<BoxError>,
    {
        let Self { head, stream, replaced, unattended, mut permit } = self;
        let ends = Ends(Arc::clone(&stream));
        let length = match head.part {
            Some(part) => Some(part.span.len()),
            None => content_length(&head.fields.to_map()),
        };
        if let (Some(fleet), Some(length)) = (&core.fleet, length)
            && !fleet.has_room(length)
            && let Some(permit) = permit.take()
        {
            // Nobody else is to wait for it, and it does not wait for that.
            fleet.leave_alone_later(core, permit, Alone::Large, replaced.clone());
        }
        let end = match read(core, body, &stream, unattended).await {
            Ok(came) => match length {
                Some(length) if length != came && may_have_content(head.status) => {
                    Err(BodyError::short())
                }
                _ => Ok(()),
            },
            Err(error) => Err(error),
        };
        let mut kept = None;
        if (end.is_ok() || cfg!(broken = "http_short"))
            && let Some(chunks) = stream.chunks()
        {
            let stored = Stored { head, content: Content::new(&chunks) };
            core.keep(target, hash, stamp, stored.clone(), replaced.as_ref());
            kept = Some(stored);
        }
        // Who has read to the end finds it stored.
        stream.finish(end);
        drop(ends);
        if let (Some(fleet), Some(permit)) = (&core.fleet, permit) {
            match &kept {
                Some(stored) => fleet.store(core, permit, stored, replaced.as_ref()).await,
                // It was cut short, and others may have more luck, or it is too large.
                None if stream.is_unkept() => {
                    fleet.leave_alone(core, permit, Alone::Large, replaced.as_ref()).await;
                }
                None => {}
            }
        }
    }
}

/// How many bytes came.
async fn read<R>(
    core: &Core,
    body: R,
    stream: &Stream,
    mut unattended: Option<OwnedSemaphorePermit>,
) -> Result<u64, BodyError>
where
    R: HttpBody,
    R::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut came = 0;
    loop {
        match poll_fn(|cx| stream.poll_demand(cx)).await {
            Demand::More => {}
            Demand::Wait => {
                tokio::time::sleep(WAIT).await;
                stream.has_waited();
                continue;
            }
            Demand::None => return Err(BodyError::gone()),
        }
        let deserted = (unattended.is_none()).then_some(stream);
        let frame = match tokio::time::timeout(IDLE, frame(body.as_mut(), deserted)).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                unattended = Some(core.unattended().ok_or_else(BodyError::gone)?);
                continue;
            }
            Err(_) if stream.has_readers() => continue,
            Err(_) => return Err(BodyError::gone()),
        };
        match frame {
            None => return Ok(came),
            Some(Err(error)) => return Err(BodyError::origin(error)),
            Some(Ok(frame)) => {
                // Trailers may be discarded (RFC 9111, section 3.1).
                if let Ok(mut data) = frame.into_data()
                    && data.has_remaining()
                {
                    let chunk = data.copy_to_bytes(data.remaining());
                    came += chunk.len() as u64;
                    stream.push(chunk);
                }
            }
        }
    }
}

type Next<R> = Option<Result<Frame<<R as HttpBody>::Data>, <R as HttpBody>::Error>>;

/// The next frame; nothing if before it nobody reads the stream any more.
async fn frame<R: HttpBody>(mut body: Pin<&mut R>, stream: Option<&Stream>) -> Option<Next<R>> {
    poll_fn(|cx| {
        if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(Some(frame));
        }
        match stream {
            Some(stream) => stream.poll_deserted(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// Ends a stream whose task is dropped.
struct Ends(Arc<Stream>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.finish(Err(BodyError::gone()));
    }
}
