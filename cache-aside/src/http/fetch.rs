//! Asking the origin, in a task of its own: who waits for the answer may go.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{
    DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, TRAILER,
};
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tower_service::Service;

use super::age::Exchange;
use super::block::take_hop_by_hop;
use super::body::Body;
use super::core::{Before, Core};
use super::directives::RequestDirectives;
use super::entry::Stored;
use super::file::{Filing, Offer, Renewed, offer, renewed};
use super::fleet::{self, Alone, Permit, Seek};
use super::flights::{Landed, Lead};
use super::reuse::Failure;
use super::serve::{self, Ask};
use super::status::{Forward, Status};
use super::storable::Refusal;
use super::target::Target;
use super::update::{About, about};
use crate::error::BoxError;
use crate::metrics::Request as Counted;

/// A request that nobody waits for any more is given up after this long.
const ABANDONED: Duration = Duration::from_secs(60);

/// A request that is to go to the origin.
pub(super) struct Errand<S, B> {
    pub(super) core: Arc<Core>,
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) plan: Plan,
}

pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) hash: u64,
    pub(super) before: Before,
    pub(super) asked: RequestDirectives,
    /// The client's fields, without those of its connection.
    pub(super) client: HeaderMap,
    pub(super) forward: Forward,
    /// What is stored, and is to be validated.
    pub(super) stale: Option<Stored>,
    /// Whether the answer is to be all of it, so that the client's conditions are judged here.
    pub(super) whole: bool,
}

pub(super) type Answer<R, E> = Result<Response<Body<R>>, E>;
pub(super) type Reply<R, E> = oneshot::Sender<Answer<R, E>>;

impl Plan {
    pub(super) fn ask(&self) -> Ask<'_> {
        Ask { method: &Method::GET, headers: &self.client }
    }

    /// A fetch's share of `Cache-Status`.
    pub(super) fn status(&self, core: &Core, answered: Option<StatusCode>) -> Status<'_> {
        Status {
            forward: Some(self.forward),
            forward_status: answered,
            ..core.status(&self.target)
        }
    }

    /// Puts the cache's conditions in place of the client's.
    fn prepare(&self, headers: &mut HeaderMap) {
        if !self.whole {
            return;
        }
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
            headers.remove(name);
        }
        let Some(stale) = &self.stale else { return };
        let mut stored = stale.head.fields.to_map();
        if let Some(tag) = stored.remove(ETAG) {
            headers.insert(IF_NONE_MATCH, tag);
        }
        if let Some(modified) = stored.remove(LAST_MODIFIED) {
            headers.insert(IF_MODIFIED_SINCE, modified);
        }
    }
}

/// Asks the origin, answers who asked, all who wait, and stores what may be stored. When nobody
/// waits it goes on with leave only, which it may have from the beginning.
pub(super) async fn run<S, B, R>(
    errand: Errand<S, B>,
    mut reply: Option<Reply<R, S::Error>>,
    lead: Option<Lead>,
    mut unattended: Option<OwnedSemaphorePermit>,
) where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody,
    R::Error: Into<BoxError>,
{
    let Errand { core, mut service, mut request, mut plan } = errand;
    let mut permit = None;
    if let Some(fleet) = &core.fleet {
        let behind = reply.is_none() && !lead.as_ref().is_some_and(Lead::is_awaited);
        match fleet::seek(&core, fleet, &mut plan, behind).await {
            Seek::Serve(stored) => return shared(&core, &plan, stored, reply, lead),
            Seek::Go(granted) => permit = granted,
            Seek::Alone(granted) => {
                permit = granted;
                if let Some(lead) = &lead {
                    lead.land(Landed::Unshared);
                }
                plan.whole = plan.stale.is_some();
            }
            Seek::Leave => {
                if let Some(lead) = &lead {
                    lead.land(Landed::Unshared);
                }
                return;
            }
        }
    }
    if reply.is_some() {
        core.engine.metrics.request(Counted::Miss);
    }
    plan.prepare(request.headers_mut());
    let sent = core.time();
    let mut call = pin!(async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    });
    let answer = loop {
        if let Some(answer) = attended(call.as_mut(), &mut reply, lead.as_ref()).await {
            break answer;
        }
        if unattended.is_none() {
            unattended = core.unattended();
        }
        if unattended.is_some()
            && let Ok(answer) = tokio::time::timeout(ABANDONED, call.as_mut()).await
        {
            break answer;
        }
        let awaited = lead.as_ref().is_some_and(Lead::is_awaited);
        if unattended.is_none() || !awaited {
            if let Some(lead) = lead {
                // Nothing has failed: who joins it at this moment asks by himself.
                lead.land(Landed::Unshared);
            }
            return;
        }
    };
    let exchange = Exchange { sent, received: core.time() };
    let fetched =
        Fetched { core: &core, plan: &plan, exchange, reply, lead, unattended, permit };
    match answer {
        Ok(response) => fetched.arrived(response).await,
        Err(error) => fetched.failed(error),
    }
}

/// What comes of a call; nothing if before that nobody waits for it any more.
async fn attended<F: Future, R, E>(
    mut call: Pin<&mut F>,
    reply: &mut Option<Reply<R, E>>,
    lead: Option<&Lead>,
) -> Option<F::Output> {
    let mut deserted = pin!(async {
        if let Some(reply) = reply {
            reply.closed().await;
        }
        if let Some(lead) = lead {
            lead.deserted().await;
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        deserted.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Answers all with what another server has stored.
fn shared<R, E>(
    core: &Core,
    plan: &Plan,
    stored: Stored,
    reply: Option<Reply<R, E>>,
    lead: Option<Lead>,
) {
    if let Some(reply) = reply {
        let said = Status { hit: true, detail: Some("shared"), ..core.status(&plan.target) };
        let answer = serve::stored(&stored, plan.ask(), core.now(), said, core.name());
        // Who asked may have gone.
        let _ = reply.send(Ok(answer));
    }
    if let Some(lead) = &lead {
        lead.land(Landed::Validated(stored));
    }
}

struct Fetched<'f, R, E> {
    core: &'f Arc<Core>,
    plan: &'f Plan,
    exchange: Exchange,
    reply: Option<Reply<R, E>>,
    lead: Option<Lead>,
    unattended: Option<OwnedSemaphorePermit>,
    /// To store for all servers.
    permit: Option<Permit>,
}

impl<R, E> Fetched<'_, R, E>
where
    R: HttpBody,
    R::Error: Into<BoxError>,
{
    async fn arrived(mut self, response: Response<R>) {
        let (mut parts, body) = response.into_parts();
        let status = parts.status;
        if let Some(stale) = &self.plan.stale {
            if status == StatusCode::NOT_MODIFIED {
                return self.validated(parts, &stale.clone()).await;
            }
            if is_failure(status) && self.may_stand_in(stale, Failure::Error) {
                return self.stands_in(Failure::Error, Some(status));
            }
        }
        let Plan { target, hash, before, .. } = self.plan;
        if !parts.headers.contains_key(DATE) {
            // RFC 9110, section 6.6.1.
            parts.headers.insert(DATE, date_of(self.exchange.received));
        }
        let offered = offer(
            self.core,
            Offer {
                target,
                method: &Method::GET,
                client: &self.plan.client,
                asked: &self.plan.asked,
                status,
                headers: &parts.headers,
                exchange: self.exchange,
                before: *before,
                fresh_since: before.fresh_since,
                shared_fresh_since: before.shared,
                length: body.size_hint().exact(),
                part: None,
            },
        );
        take_hop_by_hop(&mut parts.headers);
        let head = match offered {
            Ok(head) => head,
            Err(refusal) => {
                let permit = self.permit.take();
                let mut gone = None;
                if refusal.is_of_response() {
                    self.core.mark_unshared(*hash);
                    if let Some(stale) = &self.plan.stale
                        && !status.is_server_error()
                    {
                        // The origin no longer vouches for it.
                        self.core.forget(target, *hash, stale);
                        gone = Some(stale);
                    }
                }
                self.land(Landed::Unshared);
                let detail = Some(refusal.token());
                let said = Status { detail, ..self.plan.status(self.core, Some(status)) };
                let core = self.core;
                self.answer(parts, said, Body::inner(body));
                if let Some(fleet) = &core.fleet
                    && let Some(permit) = permit.filter(|_| refusal.is_of_response())
                {
                    let why = match refusal {
                        Refusal::TooLarge => Alone::Large,
                        _ => Alone::Unshared,
                    };
                    fleet.leave_alone(core, permit, why, gone).await;
                }
                return;
            }
        };
        self.core.mark_shared(*hash);
        let filing = Filing::new(Arc::new(head), self.core.settings.entry_limit)
            .replacing(self.plan.stale.clone())
            .unattended(self.unattended.take());
        let reader = filing.stream.reader().expect("nothing of it has come yet");
        // They do not come through.
        parts.headers.remove(TRAILER);
        let said = Status { stored: true, ..self.plan.status(self.core, Some(status)) };
        self.land(Landed::Live(Arc::clone(&filing.head), Arc::clone(&filing.stream)));
        self.answer_stored(parts, said, Body::shared(reader));
        let Self { core, plan, lead, permit, .. } = self;
        let filing = filing.sharing(permit);
        filing.run(core, &plan.target, plan.hash, plan.before.stamp, body).await;
        // Until it is stored, who comes reads it as it comes.
        drop(lead);
    }

    /// The origin says that what is stored is still good.
    async fn validated(mut self, mut parts: Parts, stale: &Stored) {
        let Plan { target, hash, before, .. } = self.plan;
        let mut said = self.plan.status(self.core, Some(parts.status));
        match about(&stale.head.fields.to_map(), &parts.headers) {
            About::Stored => {}
            About::StoredWeakly => drop(parts.headers.remove(ETAG)),
            About::Equivalent => {
                self.land(Landed::Unshared);
                said.detail = Some("validated-weakly");
                let now = self.core.now();
                let answer = serve::stored(stale, self.plan.ask(), now, said, self.core.name());
                return self.send(Ok(answer));
            }
            About::Another => {
                self.core.forget(target, *hash, stale);
                self.land(Landed::Unshared);
                said.detail = Some("validated-another");
                let answer = serve::own(StatusCode::BAD_GATEWAY, &said, self.core.name());
                return self.send(Ok(answer));
            }
        }
        if !parts.headers.contains_key(DATE) {
            parts.headers.insert(DATE, date_of(self.exchange.received));
        }
        let Renewed { head, refusal } = renewed(
            self.core,
            Offer {
                target,
                method: &Method::GET,
                client: &self.plan.client,
                asked: &self.plan.asked,
                status: stale.head.status,
                headers: &parts.headers,
                exchange: self.exchange,
                before: *before,
                fresh_since: before.fresh_since,
                shared_fresh_since: before.shared,
                length: None,
                part: stale.head.part,
            },
            stale,
        );
        let now = self.core.now();
        let stored = Stored { head: Arc::new(head), content: stale.content.clone() };
        let permit = self.permit.take();
        let renewal = refusal.is_none().then(|| stored.clone());
        match refusal {
            None => {
                said.stored =
                    self.core.keep(target, *hash, before.stamp, stored.clone(), Some(stale));
                self.land(Landed::Validated(stored.clone()));
            }
            Some(refusal) => {
                if refusal.is_of_response() {
                    self.core.forget(target, *hash, stale);
                }
                self.land(Landed::Unshared);
                said.detail = Some(refusal.token());
            }
        }
        let core = self.core;
        let answer = serve::stored(&stored, self.plan.ask(), now, said, core.name());
        self.send(Ok(answer));
        if let (Some(fleet), Some(permit)) = (&core.fleet, permit) {
            match &renewal {
                Some(stored) => fleet.store(core, permit, stored, Some(stale)).await,
                None => fleet.leave_alone(core, permit, Alone::Unshared, Some(stale)).await,
            }
        }
    }

    fn failed(self, error: E) {
        match &self.plan.stale {
            Some(stale) if self.may_stand_in(stale, Failure::Silent) => {
                self.stands_in(Failure::Silent, None);
            }
            Some(stale) if stale.head.terms.strict => {
                // Section 5.2.2.2: an error, and no stale response.
                self.land(Landed::Failed(Failure::Silent, Some(stale.clone())));
                let detail = Some("origin-failed");
                let said = Status { detail, ..self.plan.status(self.core, None) };
                let code = StatusCode::GATEWAY_TIMEOUT;
                let answer = serve::own(code, &said, self.core.name());
                self.send(Ok(answer));
            }
            stale => {
                self.land(Landed::Failed(Failure::Silent, stale.clone()));
                self.send(Err(error));
            }
        }
    }

    fn may_stand_in(&self, stale: &Stored, failure: Failure) -> bool {
        let now = self.core.now();
        self.core.stands_in(&stale.head, &self.plan.asked, failure, now)
    }

    fn stands_in(self, failure: Failure, answered: Option<StatusCode>) {
        let stale = self.plan.stale.clone().expect("it was judged");
        self.land(Landed::Failed(failure, Some(stale.clone())));
        let detail = Some("stale-on-error");
        let said = Status { detail, ..self.plan.status(self.core, answered) };
        let now = self.core.now();
        let answer = serve::stored(&stale, self.plan.ask(), now, said, self.core.name());
        self.send(Ok(answer));
    }

    fn land(&self, landed: Landed) {
        if let Some(lead) = &self.lead {
            lead.land(landed);
        }
    }

    /// Answers with what the origin said.
    fn answer(self, mut parts: Parts, said: Status<'_>, body: Body<R>) {
        said.append(self.core.name(), &mut parts.headers);
        self.send(Ok(Response::from_parts(parts, body)));
    }

    /// The same with what is being stored, unless the client has it already.
    fn answer_stored(&mut self, mut parts: Parts, said: Status<'_>, mut body: Body<R>) {
        let Some(reply) = self.reply.take() else { return };
        said.append(self.core.name(), &mut parts.headers);
        let received = self.exchange.received;
        if self.plan.whole
            && serve::conditions_end_it(
                parts.status,
                &mut parts.headers,
                self.plan.ask(),
                received,
            )
        {
            parts.status = StatusCode::NOT_MODIFIED;
            body = Body::empty();
        }
        // Who asked may have gone.
        let _ = reply.send(Ok(Response::from_parts(parts, body)));
    }

    fn send(self, answer: Answer<R, E>) {
        // Who has the answer, and asks again, does not join what is over.
        drop(self.lead);
        if let Some(reply) = self.reply {
            // Who asked may have gone.
            let _ = reply.send(answer);
        }
    }
}

/// RFC 5861, section 4.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

pub(super) fn date_of(time: std::time::SystemTime) -> http::HeaderValue {
    http::HeaderValue::try_from(httpdate::fmt_http_date(time))
        .expect("a date is of visible letters")
}
