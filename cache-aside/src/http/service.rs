use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tower_service::Service;

use super::block::take_hop_by_hop;
use super::core::{Core, Found};
use super::fetch::{self, Answer, Errand, Plan};
use super::flights::{Flight, FlightKey, Joined, Landed};
use super::future::ResponseFuture;
use super::pass;
use super::reuse::{Failure, Verdict, Why, reuse};
use super::serve::{self, Ask};
use super::status::{Forward, Status};
use super::target::Target;
use super::vary::Values;
use crate::error::BoxError;
use crate::metrics::Request as Counted;

/// A shared HTTP cache around a service. Made by [`HttpCacheLayer`](super::HttpCacheLayer),
/// where what it does is documented.
///
/// # Readiness
///
/// *Deferred*: always ready, so that a hit never queues behind a busy origin. What goes to the
/// inner service readies a clone of it. At most one request to it is under way for each that
/// waits here, and [`unattended`](super::HttpCacheBuilder::unattended) ones for which nobody
/// does: put a limit on the inner service for less, or above this one for all requests.
///
/// # Errors
///
/// Those of the inner service, to the one whose request met them. Who had waited for the same
/// answer gets 502, or 504 where what is stored must be revalidated. A handler that panics on a GET ends that request with 500.
pub struct HttpCache<S> {
    inner: S,
    core: Arc<Core>,
}

impl<S> HttpCache<S> {
    pub(super) fn new(inner: S, core: Arc<Core>) -> Self {
        Self { inner, core }
    }
}

/// How often a request joins others before it goes alone: more than once only where what
/// tells requests apart was not known, or changes.
const MOST_ROUNDS: u32 = 3;

/// What is to be done with a request, as far as its head tells.
enum Route {
    Cached(Target),
    /// It changes the connection.
    Untouched,
    Bypassed(&'static str),
    /// Its method is safe and has nothing stored.
    Safe,
    Changes(Option<Target>),
}

impl<S, B, R> Service<Request<B>> for HttpCache<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    B: HttpBody + Send + 'static,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    type Response = Response<super::Body<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.respond(request)
    }
}

/// A call needs no more than a reference: a server that shares one cache among its connections
/// need not clone it for each request.
impl<S, B, R> Service<Request<B>> for &HttpCache<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    B: HttpBody + Send + 'static,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    type Response = Response<super::Body<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.respond(request)
    }
}

impl<S> HttpCache<S> {
    fn respond<B, R>(&self, request: Request<B>) -> ResponseFuture<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Send + 'static,
        S::Future: Send,
        B: HttpBody + Send + 'static,
        R: HttpBody + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        // Cloned below only: a hit needs neither.
        let both = || (Arc::clone(&self.core), self.inner.clone());
        let forward = |request, forward, detail| {
            self.core.engine.metrics.request(Counted::Bypass);
            let (core, inner) = both();
            ResponseFuture::waiting(pass::forwarded(core, inner, request, forward, detail))
        };
        match self.route(&request) {
            Route::Cached(target) => self.cached(request, target),
            Route::Untouched => {
                ResponseFuture::waiting(pass::untouched(self.inner.clone(), request))
            }
            Route::Bypassed(why) => forward(request, Forward::Bypass, Some(why)),
            Route::Safe => forward(request, Forward::Method, None),
            Route::Changes(target) => {
                self.core.engine.metrics.request(Counted::Bypass);
                let (core, inner) = both();
                ResponseFuture::waiting(pass::changed(core, inner, request, target))
            }
        }
    }

    fn route<B: HttpBody>(&self, request: &Request<B>) -> Route {
        let settings = &self.core.settings;
        let (method, headers) = (request.method(), request.headers());
        let safe = pass::is_safe(method);
        if method == Method::CONNECT || (safe && headers.contains_key(UPGRADE)) {
            return Route::Untouched;
        }
        let original =
            settings.original_uri.as_ref().and_then(|find| find(request.extensions()));
        let uri = original.as_ref().unwrap_or_else(|| request.uri());
        let target = settings.keys.of_request(uri, headers);
        if !safe {
            return Route::Changes(target);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Route::Safe;
        }
        let body = request.body();
        if !(body.is_end_stream() || body.size_hint().exact() == Some(0)) {
            // What is in it is in no key.
            return Route::Bypassed("content");
        }
        if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
            // They are for the origin to judge (RFC 9111, section 4.3.2).
            return Route::Bypassed("precondition");
        }
        target.map_or(Route::Bypassed("target"), Route::Cached)
    }

    fn cached<B, R>(
        &self,
        mut request: Request<B>,
        target: Target,
    ) -> ResponseFuture<R, S::Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Send + 'static,
        S::Future: Send,
        B: HttpBody + Send + 'static,
        R: HttpBody + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let core = &self.core;
        let asked = core.asked(request.headers());
        let hash = core.hash(&target);
        // Before the store is looked at: what is found, or asked for, is not from before this.
        let before = core.before(hash);
        let (found, now) = core.find(&target, hash, request.headers());
        let (forward, stale, values) = match found {
            Found::Nothing => (Forward::UriMiss, None, Box::default()),
            Found::Part => (Forward::Partial, None, Box::default()),
            Found::This(stored, _)
                if stored.head.part.is_some() && request.method() == Method::HEAD =>
            {
                (Forward::Partial, None, Box::default())
            }
            Found::Others(values) => (Forward::VaryMiss, None, values),
            Found::This(stored, standing) => {
                let verdict = reuse(&stored.head.terms, standing, &asked);
                if standing.unsure
                    && let Some(fleet) = &core.fleet
                {
                    fleet.count_unsure();
                }
                if let Verdict::Validate(why) = verdict {
                    let forward = match why {
                        Why::Request => Forward::Request,
                        Why::Stale | Why::NoCache => Forward::Stale,
                    };
                    let values = core.values(&stored.head, request.headers());
                    (forward, Some(stored), values)
                } else {
                    let ask = Ask { method: request.method(), headers: request.headers() };
                    let said = Status { hit: true, ..core.status(&target) };
                    let answer = serve::stored(&stored, ask, now, said, core.name());
                    if verdict == Verdict::Fresh {
                        core.engine.metrics.hit(now);
                    } else {
                        core.engine.metrics.request(Counted::Stale);
                    }
                    if verdict == Verdict::Revalidating {
                        let values = core.values(&stored.head, request.headers());
                        take_hop_by_hop(request.headers_mut());
                        let plan = Plan {
                            target,
                            hash,
                            before,
                            asked,
                            client: request.headers().clone(),
                            forward: Forward::Stale,
                            stale: Some(stored),
                            whole: true,
                        };
                        self.refresh(request, plan, values);
                    }
                    return ResponseFuture::ready(answer);
                }
            }
        };
        if asked.only_if_cached {
            let said = Status { detail: Some("only-if-cached"), ..core.status(&target) };
            let answer = serve::own(StatusCode::GATEWAY_TIMEOUT, &said, core.name());
            return ResponseFuture::ready(answer);
        }
        let (core, inner) = (Arc::clone(core), self.inner.clone());
        if request.method() == Method::HEAD {
            let head = pass::Head { target, hash, before, asked, forward, stored: stale };
            return ResponseFuture::waiting(head.run(core, inner, request));
        }
        let Some(runtime) = Handle::try_current().ok().or_else(|| core.engine.runtime.clone())
        else {
            let detail = Some("no-runtime");
            let forwarded = pass::forwarded(core, inner, request, Forward::Bypass, detail);
            return ResponseFuture::waiting(forwarded);
        };
        take_hop_by_hop(request.headers_mut());
        let plan = Plan {
            target,
            hash,
            before,
            asked,
            client: request.headers().clone(),
            forward,
            stale,
            whole: true,
        };
        let errand = Errand { core, service: inner, request, plan };
        ResponseFuture::waiting(get(errand, values, runtime))
    }

    /// Revalidates what was served stale, in a task of its own, unless that is under way.
    fn refresh<B, R>(&self, mut request: Request<B>, plan: Plan, values: Values)
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Send + 'static,
        S::Future: Send,
        B: HttpBody + Send + 'static,
        R: HttpBody + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let core = &self.core;
        let runtime = Handle::try_current().ok().or_else(|| core.engine.runtime.clone());
        // With leave first: who joins it waits for something that is done.
        let (Some(runtime), Some(leave)) = (runtime, core.unattended()) else { return };
        let Joined::Leads(lead) = join(core, &plan, values) else { return };
        *request.method_mut() = Method::GET;
        let core = Arc::clone(core);
        let errand = Errand { core, service: self.inner.clone(), request, plan };
        runtime.spawn(fetch::run(errand, None, Some(lead), Some(leave)));
    }
}

fn join(core: &Core, plan: &Plan, values: Values) -> Joined {
    let Plan { target, hash, before, .. } = plan;
    let key = FlightKey { uri: Arc::clone(&target.key), stamp: before.stamp, values };
    // What is known of its groups is known when it lands.
    let marks = core.marks(target, &[]);
    let now = core.now();
    core.flights.join(key, *hash, before.since, now, |since, began| {
        core.purged.hold(&marks, since) && core.may_join(began, now)
    })
}

/// A GET that the store has no answer to: with others who ask for the same, or alone.
async fn get<S, B, R>(
    mut errand: Errand<S, B>,
    values: Values,
    runtime: Handle,
) -> Answer<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: HttpBody + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let core = Arc::clone(&errand.core);
    let plan = &mut errand.plan;
    let unshared = core.is_unshared(plan.hash, core.now());
    if plan.stale.is_none()
        && (unshared || plan.asked.no_store || plan.client.contains_key(RANGE))
    {
        plan.whole = false;
    }
    let mut lead = None;
    let mut values = (plan.whole && !unshared && !plan.asked.no_store && !plan.asked.no_cache)
        .then_some(values);
    let mut rounds = 0;
    while let Some(told_apart) = values.take() {
        rounds += 1;
        match join(&core, plan, told_apart.clone()) {
            Joined::Leads(leads) => {
                // Somebody may have brought it between the look and the lead.
                if let Some(answer) = brought(&core, plan, &leads) {
                    return Ok(answer);
                }
                lead = Some(leads);
            }
            Joined::Waits(flight) => {
                match shared(&core, plan, &flight).await {
                    Shared::Answer(answer) => {
                        core.engine.metrics.request(Counted::Joined);
                        return Ok(answer);
                    }
                    // With those who ask for the same as this one, now that it is known how.
                    Shared::Others(known) if known != told_apart && rounds < MOST_ROUNDS => {
                        values = Some(known);
                    }
                    Shared::Others(_) | Shared::Alone => {}
                }
                plan.before = core.before(plan.hash);
            }
        }
    }
    let target = errand.plan.target.clone();
    let (reply, answer) = oneshot::channel();
    runtime.spawn(fetch::run(errand, Some(reply), lead, None));
    match answer.await {
        Ok(answer) => answer,
        // Its task has panicked, or its runtime was shut down.
        Err(_) => {
            let said = Status { detail: Some("aborted"), ..core.status(&target) };
            Ok(serve::own(StatusCode::INTERNAL_SERVER_ERROR, &said, core.name()))
        }
    }
}

fn brought<R>(
    core: &Core,
    plan: &Plan,
    lead: &super::flights::Lead,
) -> Option<Response<super::Body<R>>> {
    let (found, now) = core.find(&plan.target, plan.hash, &plan.client);
    let Found::This(stored, standing) = found else { return None };
    if standing.unsure || !core.serves(&stored.head, &plan.client, &plan.asked, now) {
        return None;
    }
    core.engine.metrics.hit(now);
    let said = Status { hit: true, ..core.status(&plan.target) };
    let answer = serve::stored(&stored, plan.ask(), now, said, core.name());
    lead.land(Landed::Validated(stored));
    Some(answer)
}

/// What another's request brought.
#[allow(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum Shared<R> {
    Answer(Response<super::Body<R>>),
    /// It was for others; what tells this request apart from them.
    Others(Values),
    Alone,
}

async fn shared<R>(core: &Core, plan: &Plan, flight: &Flight) -> Shared<R> {
    let Some(landed) = flight.wait(core.settings.patience).await else { return Shared::Alone };
    let now = core.now();
    let (ask, name) = (plan.ask(), core.name());
    let mut said = Status { collapsed: true, ..plan.status(core, None) };
    match landed {
        Landed::Live(head, _) if !core.is_for(&head, &plan.client) => {
            Shared::Others(core.values(&head, &plan.client))
        }
        Landed::Live(head, stream) if core.serves(&head, &plan.client, &plan.asked, now) => {
            stream.reader().map_or(Shared::Alone, |reader| {
                Shared::Answer(serve::live(&head, reader, ask, now, said, name))
            })
        }
        Landed::Validated(stored)
            if core.serves(&stored.head, &plan.client, &plan.asked, now) =>
        {
            Shared::Answer(serve::stored(&stored, ask, now, said, name))
        }
        Landed::Failed(failure, stale) => {
            // Section 5.2.2.2.
            let strict = stale.as_ref().is_some_and(|stale| stale.head.terms.strict);
            let code =
                if strict { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            let stale = stale.filter(|stale| {
                core.is_for(&stale.head, &plan.client)
                    && core.stands_in(&stale.head, &plan.asked, failure, now)
            });
            if let Some(stale) = stale {
                said.detail = Some("stale-on-error");
                return Shared::Answer(serve::stored(&stale, ask, now, said, name));
            }
            if failure == Failure::Error {
                return Shared::Alone;
            }
            // One failure is one for all.
            said.detail = Some("origin-failed");
            Shared::Answer(serve::own(code, &said, name))
        }
        Landed::Live(..) | Landed::Validated(_) | Landed::Unshared => Shared::Alone,
    }
}

impl<S: Clone> Clone for HttpCache<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.core))
    }
}

impl<S: fmt::Debug> fmt::Debug for HttpCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCache").field("inner", &self.inner).finish_non_exhaustive()
    }
}
