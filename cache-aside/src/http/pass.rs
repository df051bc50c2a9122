//! Requests that the store has no answer to: they go to the inner service as they are.

use std::future::poll_fn;
use std::sync::Arc;

use http::header::{CONTENT_LOCATION, DATE, LOCATION, TRAILER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::runtime::Handle;
use tower_service::Service;

use super::age::Exchange;
use super::block::take_hop_by_hop;
use super::body::Body;
use super::core::{Before, Core};
use super::directives::RequestDirectives;
use super::entry::Stored;
use super::fetch::{Answer, date_of};
use super::file::{Filing, Offer, Renewed, offer, renewed};
use super::fleet::{self, Event};
use super::groups::{CACHE_GROUP_INVALIDATION, names};
use super::marks::Mark;
use super::serve::{self, Ask};
use super::status::{Forward, Status};
use super::target::Target;
use super::update::describes;
use crate::error::BoxError;
use crate::metrics::Request as Counted;

/// Methods that change nothing (RFC 9110, section 9.2.1, and the registry of methods).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}

/// Nothing of it is touched: it changes the connection.
pub(super) async fn untouched<S, B, R>(service: S, request: Request<B>) -> Answer<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    Ok(call(service, request).await?.map(Body::inner))
}

pub(super) async fn forwarded<S, B, R>(
    core: Arc<Core>,
    service: S,
    mut request: Request<B>,
    forward: Forward,
    detail: Option<&'static str>,
) -> Answer<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    take_hop_by_hop(request.headers_mut());
    let mut response = call(service, request).await?;
    let code = response.status();
    let said = Status {
        forward: Some(forward),
        forward_status: Some(code),
        detail,
        ..Status::default()
    };
    take_hop_by_hop(response.headers_mut());
    said.append(core.name(), response.headers_mut());
    Ok(response.map(Body::inner))
}

/// A HEAD, and what is stored for a GET like it (RFC 9111, section 4.3.5).
pub(super) struct Head {
    pub(super) target: Target,
    pub(super) hash: u64,
    pub(super) before: Before,
    pub(super) asked: RequestDirectives,
    pub(super) forward: Forward,
    pub(super) stored: Option<Stored>,
}

impl Head {
    pub(super) async fn run<S, B, R>(
        self,
        core: Arc<Core>,
        service: S,
        mut request: Request<B>,
    ) -> Answer<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>>,
    {
        take_hop_by_hop(request.headers_mut());
        let client = request.headers().clone();
        if let (Some(fleet), None) = (&core.fleet, &self.stored) {
            let asked = (&self.asked, &client);
            if let Some(stored) =
                fleet::look(&core, fleet, &self.target, self.hash, asked).await
            {
                let detail = Some("shared");
                let said = Status { hit: true, detail, ..core.status(&self.target) };
                let ask = Ask { method: &Method::HEAD, headers: &client };
                return Ok(serve::stored(&stored, ask, core.now(), said, core.name()));
            }
        }
        core.engine.metrics.request(Counted::Miss);
        let sent = core.time();
        let mut response = call(service, request).await?;
        let exchange = Exchange { sent, received: core.time() };
        let code = response.status();
        if let Some(stored) = &self.stored {
            match code.as_u16() {
                200 => self.update(&core, stored, &client, response.headers(), exchange),
                404 | 410 => core.forget(&self.target, self.hash, stored),
                _ => {}
            }
        }
        let said = Status {
            forward: Some(self.forward),
            forward_status: Some(code),
            ..core.status(&self.target)
        };
        take_hop_by_hop(response.headers_mut());
        said.append(core.name(), response.headers_mut());
        Ok(response.map(Body::inner))
    }

    fn update(
        &self,
        core: &Core,
        stored: &Stored,
        client: &HeaderMap,
        headers: &HeaderMap,
        exchange: Exchange,
    ) {
        let old = stored.head.fields.to_map();
        if stored.head.status != StatusCode::OK || !describes(&old, headers) {
            core.forget(&self.target, self.hash, stored);
            return;
        }
        let mut headers = headers.clone();
        headers.entry(DATE).or_insert_with(|| date_of(exchange.received));
        let offered = Offer {
            target: &self.target,
            method: &Method::GET,
            client,
            asked: &self.asked,
            status: StatusCode::OK,
            headers: &headers,
            exchange,
            before: self.before,
            // What was marked as stale stays so: its content was not validated.
            fresh_since: stored.head.fresh_since,
            shared_fresh_since: stored.head.shared.fresh_since,
            length: None,
            part: stored.head.part,
        };
        let Renewed { head, refusal } = renewed(core, offered, stored);
        match refusal {
            None => {
                let content = stored.content.clone();
                let renewed = Stored { head: Arc::new(head), content };
                let stamp = self.before.stamp;
                core.keep(&self.target, self.hash, stamp, renewed, Some(stored));
            }
            Some(refusal) if refusal.is_of_response() => {
                core.forget(&self.target, self.hash, stored);
            }
            // It is for the one who asked, and says nothing of what is for all.
            Some(_) => {}
        }
    }
}

/// A request of a method that may change things: what is stored of its URI, and of those that
/// its response names, is invalidated (RFC 9111, section 4.4).
pub(super) async fn changed<S, B, R>(
    core: Arc<Core>,
    service: S,
    mut request: Request<B>,
    target: Option<Target>,
) -> Answer<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    take_hop_by_hop(request.headers_mut());
    let method = request.method().clone();
    let client = request.headers().clone();
    let sent = core.time();
    let since = target.as_ref().map(|target| core.before(core.hash(target)));
    let mut unknown = Unknown { core: &core, target: target.as_ref() };
    let mut response = call(service, request).await?;
    unknown.target = None;
    drop(unknown);

    let exchange = Exchange { sent, received: core.time() };
    let code = response.status();
    let mut said = Status {
        forward: Some(Forward::Method),
        forward_status: Some(code),
        ..Status::default()
    };
    let changes = code.is_success() || code.is_redirection();
    if let (Some(target), Some(before), true) = (&target, since, changes) {
        let over = invalidated(&core, target, response.headers());
        for event in over {
            // Here it holds in any case; what the others were not told yet is owed.
            let _ = core.announce(event).await;
        }
        let stamp = core.before(core.hash(target)).stamp;
        // By this change, and by nothing else.
        let holds =
            stamp == before.stamp + core.ends_by_announcing() || cfg!(broken = "http_post");
        response.headers_mut().entry(DATE).or_insert_with(|| date_of(exchange.received));
        let offered = offer(
            &core,
            Offer {
                target,
                method: &method,
                client: &client,
                asked: &core.asked(&client),
                status: code,
                headers: response.headers(),
                exchange,
                before: Before { stamp, ..before },
                fresh_since: before.fresh_since,
                shared_fresh_since: before.shared,
                length: response.body().size_hint().exact(),
                part: None,
            },
        );
        if let (Ok(head), Ok(runtime), true) = (offered, Handle::try_current(), holds) {
            let filing = Filing::new(Arc::new(head), core.settings.entry_limit);
            let reader = filing.stream.reader().expect("nothing of it has come yet");
            let (mut parts, body) = response.into_parts();
            take_hop_by_hop(&mut parts.headers);
            parts.headers.remove(TRAILER);
            said.stored = true;
            said.append(core.name(), &mut parts.headers);
            let (target, hash) = (target.clone(), core.hash(target));
            runtime.spawn(async move { filing.run(&core, &target, hash, stamp, body).await });
            return Ok(Response::from_parts(parts, Body::shared(reader)));
        }
    }
    take_hop_by_hop(response.headers_mut());
    said.append(core.name(), response.headers_mut());
    Ok(response.map(Body::inner))
}

/// What does not hold any more after a change; the URI itself last.
fn invalidated(core: &Core, target: &Target, headers: &HeaderMap) -> Vec<Event> {
    let mut over = Vec::new();
    for name in [LOCATION, CONTENT_LOCATION] {
        for named in headers.get_all(name) {
            let other = core.settings.keys.resolve(target, named.as_bytes());
            if let Some(other) = other.filter(|other| other != target) {
                over.push(Event::Uri((*other.key).into()));
            }
        }
    }
    for group in names(headers, &CACHE_GROUP_INVALIDATION) {
        over.push(Event::of(&Mark::Group(target.origin(), &group), false));
    }
    over.push(Event::Uri((*target.key).into()));
    over
}

/// What the request did is not known: nobody has seen its answer.
struct Unknown<'c> {
    core: &'c Arc<Core>,
    target: Option<&'c Target>,
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if let Some(target) = self.target {
            self.core.invalidate_later(target);
        }
    }
}

/// A clone has no readiness of its own yet, so it is made ready first.
async fn call<S, B>(mut service: S, request: Request<B>) -> Result<S::Response, S::Error>
where
    S: Service<Request<B>>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}
