use std::fmt;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "test-util")]
use std::time::SystemTime;

use http::uri::Scheme;
use http::{Extensions, HeaderName, Uri};
use tokio::sync::Semaphore;

use super::core::{Core, Settings};
use super::entry::{Variants, Wall};
use super::fleet::{self, Fleet};
use super::layer::HttpCacheLayer;
use super::lifetime::Heuristic;
use super::status::is_name;
use super::target::Keys;
use super::vary::Keyed;
use crate::builder::CacheBuilder;
use crate::clock::Clock;
use crate::error::BuildError;
use crate::shared::SharedNews;
use crate::store::Moka;
use crate::tier;

/// What of a request's fields chooses a response behind many servers and routers, although
/// `Vary` does not say so.
const KEYED: [&str; 13] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-host",
    "x-http-host-override",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-method-override",
];

/// Longer than most responses take to come.
const LEASE: Duration = Duration::from_secs(60);
const LEAST_BOUND: Duration = Duration::from_millis(10);

const DAY: Duration = Duration::from_secs(24 * 3_600);
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Settings of an [`HttpCacheLayer`].
#[must_use]
pub struct HttpCacheBuilder {
    bytes: u64,
    entries: usize,
    ignored: Vec<Box<str>>,
    settings: Settings,
    clock: Option<Clock>,
    wall: Wall,
    fleet: Option<fleet::Plan>,
    bound: Option<Duration>,
    tier: tier::Settings,
}

impl HttpCacheBuilder {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            entries: (bytes / 4_096) as usize,
            ignored: Vec::new(),
            settings: Settings {
                name: "cache-aside".into(),
                keys: Keys { scheme: "http", sorted: false, ignored: Arc::new([]) },
                original_uri: None,
                keyed: Keyed::new(KEYED.map(HeaderName::from_static)),
                targets: vec![HeaderName::from_static("cdn-cache-control")],
                honours_requests: true,
                heuristic: Some(Heuristic { share: 0.1, most: DAY }),
                entry_limit: 8 << 20,
                variants: 32,
                uri_limit: bytes / 4,
                disconnected: DAY,
                keep_stale: DAY,
                patience: Duration::from_secs(30),
                unattended: 256,
                shows_key: false,
                stores_cookies: true,
            },
            clock: None,
            wall: Wall::System,
            fleet: None,
            bound: None,
            tier: tier::Settings {
                schema: 0,
                timeout: Duration::from_millis(250),
                lease: LEASE,
                patience: Duration::from_secs(5),
                floor_ttl: Duration::from_secs(60),
                largest: 1 << 20,
                owed: 10_000,
            },
        }
    }

    /// Shares what is stored with all servers whose caches have the same name in `store`. All
    /// of them need the same settings of what a key is ([`scheme`](Self::scheme),
    /// [`sorted_query`](Self::sorted_query), [`ignored_query`](Self::ignored_query),
    /// [`keyed_fields`](Self::keyed_fields)).
    ///
    /// - What is not in this process is looked for there, and then asked for under a lease, so
    ///   that a fleet asks its origin once. What is in this process is served without asking.
    /// - A [`Purge`](super::Purge), an unsafe method and `Cache-Group-Invalidation` on one
    ///   server hold on all, within the [bound](Self::staleness_bound), and no late response
    ///   undoes that.
    /// - Without the store, requests go to the origin, and are collapsed on each server. What
    ///   it was not told is owed; a server that hears no news asks the origin whether what it
    ///   has is still good.
    ///
    /// A task of the Tokio runtime follows the news, from the first request, or from here if
    /// this is called in a runtime. It ends with the cache.
    pub fn l2(mut self, store: impl SharedNews + Clone) -> Self {
        self.fleet = Some(fleet::Plan::new(store));
        self
    }

    /// With [`l2`](Self::l2): for how long after the last news a server serves what it has
    /// without asking. So long after an invalidation was acknowledged none serves what is from
    /// before, whatever happens to the store, to connections and to servers; while all work it
    /// is a matter of milliseconds. News are asked for three times in that time. The default is
    /// a second.
    pub fn staleness_bound(mut self, bound: Duration) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Gives up on [`l2`](Self::l2) when an operation takes longer than this. The default is
    /// 250 ms. After five failures in a row it is not asked at all, until it answers a probe.
    pub fn l2_timeout(mut self, timeout: Duration) -> Self {
        self.tier.timeout = timeout;
        self
    }

    /// Keeps no more than so many bytes of one URI in [`l2`](Self::l2), fields and variants
    /// together; what is larger stays in this process. The default is 1 MiB.
    pub fn l2_max_bytes(mut self, bytes: usize) -> Self {
        self.tier.largest = bytes;
        self
    }

    /// How long to wait for what another server asks the origin for; then it is asked for here
    /// too. The default is 5 s.
    pub fn lease_wait(mut self, wait: Duration) -> Self {
        self.tier.patience = wait;
        self
    }

    /// How many invalidations [`l2`](Self::l2) may have yet to acknowledge. One more, and
    /// everything is invalidated instead. The default is 10,000.
    pub fn max_unacknowledged(mut self, invalidations: usize) -> Self {
        self.tier.owed = invalidations;
        self
    }

    /// The name in `Cache-Status`: a token that begins with a letter. By default
    /// `cache-aside`.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// How many responses are expected, for the size of its tables: by default one for each 4
    /// KiB. It is no limit.
    pub fn expected_entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// The largest content that is stored, in bytes; larger ones are served as they come. By
    /// default 8 MiB, and never more than a quarter of the whole.
    pub fn entry_limit(mut self, bytes: u64) -> Self {
        self.settings.entry_limit = bytes;
        self
    }

    /// How many responses are stored for one URI, chosen by `Vary`; of more than that the one
    /// that was not used for the longest time goes. By default 32.
    pub fn variants(mut self, most: usize) -> Self {
        self.settings.variants = most;
        self
    }

    /// The scheme of requests whose URI does not say it: `http` by default, `https` behind
    /// something that ends TLS.
    pub fn scheme(mut self, scheme: &Scheme) -> Self {
        self.settings.keys.scheme = if *scheme == Scheme::HTTPS { "https" } else { "http" };
        self
    }

    /// Where the URI of a request is if a router has changed it. For axum's `nest`:
    ///
    /// ```
    /// use axum::extract::OriginalUri;
    /// use cache_aside::http::HttpCacheLayer;
    ///
    /// let cache = HttpCacheLayer::builder(64 << 20)
    ///     .original_uri(|extensions| {
    ///         extensions.get::<OriginalUri>().map(|original| original.0.clone())
    ///     })
    ///     .build()?;
    /// # Ok::<(), cache_aside::BuildError>(())
    /// ```
    pub fn original_uri(
        mut self,
        find: impl Fn(&Extensions) -> Option<Uri> + Send + Sync + 'static,
    ) -> Self {
        self.settings.original_uri = Some(Arc::new(find));
        self
    }

    /// Takes queries whose parameters are in another order for the same; those of one name
    /// keep theirs. By default an order is a query of its own.
    pub fn sorted_query(mut self) -> Self {
        self.settings.keys.sorted = true;
        self
    }

    /// Takes queries that differ only in these parameters for the same: `utm_source`, and
    /// others that the origin does not look at.
    pub fn ignored_query(
        mut self,
        names: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        self.ignored.extend(names.into_iter().map(Into::into));
        self
    }

    /// The fields that are looked at as if `Vary` had them, where a request has them: in place
    /// of those by which servers are told another host, scheme, path or method than the
    /// request's own (`X-Forwarded-Host`, `X-Original-URL` and their like). What a service
    /// looks at without saying so in `Vary` belongs here: otherwise one client could choose
    /// what is stored for others.
    pub fn keyed_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.keyed = Keyed::new(names);
        self
    }

    /// The fields that stand before `Cache-Control`, the most specific first (RFC 9213). By
    /// default `CDN-Cache-Control`.
    pub fn targeted_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.targets = names.into_iter().collect();
        self
    }

    /// Does not look at the `Cache-Control` of requests, by which every client can have a
    /// response asked for anew. RFC 9111 wants it to be looked at, and that is the default.
    pub fn ignore_request_directives(mut self) -> Self {
        self.settings.honours_requests = false;
        self
    }

    /// Guesses no lifetime where an origin says none. By default it is a tenth of the time
    /// since `Last-Modified`, at most a day (RFC 9111, section 4.2.2).
    pub fn no_heuristics(mut self) -> Self {
        self.settings.heuristic = None;
        self
    }

    /// For how long after its lifetime a response may stand in for an origin that does not
    /// answer, where nothing forbids it (RFC 9111, section 4.2.4). By default a day; zero turns
    /// it off. An origin that answers with an error is another matter: `stale-if-error`.
    pub fn stale_on_disconnect(mut self, window: Duration) -> Self {
        self.settings.disconnected = window;
        self
    }

    /// How long a response is kept after its lifetime, to be revalidated. By default a day.
    pub fn keep_stale(mut self, window: Duration) -> Self {
        self.settings.keep_stale = window;
        self
    }

    /// How long a request waits for the head of another's response before it goes to the
    /// origin itself. By default 30 s.
    pub fn collapse_wait(mut self, limit: Duration) -> Self {
        self.settings.patience = limit;
        self
    }

    /// How many requests to the inner service go on although nobody waits for them any more, or
    /// renew what was served stale. By default 256, each for at most a minute until its response
    /// begins; of more than that those whose client goes end with it, and what is stale is renewed
    /// by a later request. Those that somebody waits for are not counted: they are bounded
    /// by whatever bounds the requests.
    pub fn unattended(mut self, most: usize) -> Self {
        self.settings.unattended = most;
        self
    }

    /// Stores no response with `Set-Cookie`. By default one is stored if the origin says
    /// explicitly how long it is fresh (RFC 9111, section 7.3).
    pub fn no_cookies(mut self) -> Self {
        self.settings.stores_cookies = false;
        self
    }

    /// Shows the key of each response in `Cache-Status`. Off by default.
    pub fn show_key(mut self) -> Self {
        self.settings.shows_key = true;
        self
    }

    /// Takes a test's clock, at which it is `wall` now.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: Clock, wall: SystemTime) -> Self {
        self.wall = Wall::Fixed(wall, clock.now());
        self.clock = Some(clock);
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense.
    pub fn build(mut self) -> Result<HttpCacheLayer, BuildError> {
        let settings = &self.settings;
        let refuse = |setting, reason: &str| Err(BuildError::new(setting, reason));
        if !is_name(&settings.name) {
            return refuse("name", "it is no token as Cache-Status has them: try `edge`");
        }
        if self.bytes == 0 {
            return refuse("builder", "zero bytes would store nothing; leave the layer out");
        }
        if settings.variants == 0 {
            return refuse("variants", "zero would store nothing; leave it out for 32");
        }
        if settings.patience.is_zero() {
            return refuse("collapse_wait", "zero would never wait; leave it out for 30 s");
        }
        if settings.unattended > Semaphore::MAX_PERMITS {
            return refuse("unattended", "it is more than can be counted; try 256");
        }
        for (setting, span) in [
            ("stale_on_disconnect", settings.disconnected),
            ("keep_stale", settings.keep_stale),
            ("collapse_wait", settings.patience),
            ("staleness_bound", self.bound.unwrap_or_default()),
            ("l2_timeout", self.tier.timeout),
            ("lease_wait", self.tier.patience),
        ] {
            if span > LONGEST {
                return refuse(setting, "it is more than a hundred years");
            }
        }
        if self.bound.is_some() && self.fleet.is_none() {
            return refuse("staleness_bound", "there is nothing to hear of without `l2`");
        }
        let bound = self.bound.unwrap_or(Duration::from_secs(1));
        if bound < LEAST_BOUND {
            return refuse("staleness_bound", "less than 10 ms would never be kept");
        }
        if self.tier.timeout.is_zero() {
            return refuse("l2_timeout", "zero would never get an answer; leave it out");
        }
        self.settings.entry_limit = self.settings.entry_limit.min(self.bytes / 4);
        self.settings.keys.ignored = self.ignored.into();
        // What stands in has to be there.
        self.settings.keep_stale = self.settings.keep_stale.max(self.settings.disconnected);
        let store =
            Moka::bytes(self.bytes, self.entries.max(1), |key: &Arc<str>, all: &Variants| {
                key.len() + all.size()
            });
        let clock = self.clock.unwrap_or_else(Clock::system);
        let name = self.settings.name.clone();
        let tier = self.tier;
        let fleet = self.fleet.map(|plan| Fleet::new(&name, plan, bound, tier));
        let cache = CacheBuilder::new(self.settings.name.to_string())
            .l1(store)
            .jitter(0.0)
            .with_clock(clock);
        let engine = Arc::clone(cache.build()?.engine());
        Ok(HttpCacheLayer::new(Core::new(self.settings, engine, self.wall, fleet)))
    }
}

impl fmt::Debug for HttpCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCacheBuilder")
            .field("bytes", &self.bytes)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
