//! Looking for what other servers have stored, and asking for the right to store.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::super::core::{Before, Core, Found};
use super::super::directives::RequestDirectives;
use super::super::entry::{Stored, Variants};
use super::super::fetch::Plan;
use super::super::marks::NEVER;
use super::super::reuse::{Verdict, reuse};
use super::super::target::Target;
use super::Fleet;
use super::page::{Alone, Page};
use super::replica::Worth;
use crate::clock::Tick;
use crate::metrics::{Request as Counted, SharedWait};
use crate::shared::{Lease, RecordId};
use crate::tier::{Claim, Copied, Sought};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Who is told again and again that there is something else goes on without.
const MOST_REPLACED: u32 = 8;

/// What is asked for beside other variants is not waited for as long: the lease of a URI may
/// be one of theirs.
const VARIANTS: u32 = 4;

/// How to go on with a miss.
pub(in crate::http) enum Seek {
    Serve(Stored),
    /// To the origin, with the right to store for all, or without.
    Go(Option<Permit>),
    /// The same, and nobody is to wait for it.
    Alone(Option<Permit>),
    /// Another server renews it.
    Leave,
}

/// The right to store for all what comes of one request. It is given back when it is dropped.
pub(in crate::http) struct Permit {
    fleet: Arc<Fleet>,
    target: Target,
    lease: Option<Lease>,
    /// No earlier than it was given.
    pub(super) leased: Tick,
    /// What is stored there, and stays there beside what comes. Nothing of what is here only:
    /// that may have been dropped there by a purge that was not heard of here yet.
    pub(super) base: Variants,
}

impl Permit {
    pub(super) fn key(&self) -> &[u8] {
        self.target.key.as_bytes()
    }

    /// To be used once.
    pub(super) fn take(&mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (Some(lease), Ok(runtime)) = (self.lease.take(), Handle::try_current()) else {
            // It runs out.
            return;
        };
        let (fleet, key) = (Arc::clone(&self.fleet), Arc::clone(&self.target.key));
        runtime.spawn(async move { fleet.tier.release(&[(key.as_bytes(), &lease)]).await });
    }
}

/// What there is for a URI.
struct Seen {
    /// None where there is nothing.
    id: Option<RecordId>,
    /// Of all servers, and of this one.
    all: Variants,
    /// Whether there is something of all servers.
    shares: bool,
    alone: Option<Alone>,
}

impl Seen {
    fn nothing(id: Option<RecordId>) -> Self {
        Self { id, all: Variants::default(), shares: false, alone: None }
    }
}

/// What other servers have for a request that may be served as it is.
pub(in crate::http) async fn look(
    core: &Arc<Core>,
    fleet: &Arc<Fleet>,
    target: &Target,
    hash: u64,
    (asked, client): (&RequestDirectives, &http::HeaderMap),
) -> Option<Stored> {
    if !fleet.is_ready(core).await {
        return None;
    }
    let before = core.before(hash);
    let Sought::Copied(copied) = fleet.tier.read(target.key.as_bytes()).await else {
        return None;
    };
    let seen = fleet.adopt(core, target, hash, before, &copied);
    match core.chosen(&seen.all, core.now(), client) {
        Found::This(stored, standing) => {
            let verdict = reuse(&stored.head.terms, standing, asked);
            let serves = matches!(verdict, Verdict::Fresh | Verdict::Stale);
            serves.then(|| {
                core.engine.metrics.request(Counted::Shared);
                stored
            })
        }
        _ => None,
    }
}

/// Looks for an answer, and asks for the right to store one. Other servers that ask for the
/// same are waited for. `behind` the scenes, nobody is.
pub(in crate::http) async fn seek(
    core: &Arc<Core>,
    fleet: &Arc<Fleet>,
    plan: &mut Plan,
    behind: bool,
) -> Seek {
    if plan.asked.no_store || core.is_unshared(plan.hash, core.now()) {
        return Seek::Go(None);
    }
    if !plan.whole {
        let request = (&plan.asked, &plan.client);
        let found = look(core, fleet, &plan.target, plan.hash, request).await;
        return found.map_or(Seek::Go(None), Seek::Serve);
    }
    if !fleet.is_ready(core).await {
        return Seek::Go(None);
    }
    let Plan { target, hash, .. } = plan;
    let (target, hash) = (target.clone(), *hash);
    let key = target.key.as_bytes();
    let before = core.before(hash);
    let mut seen = match fleet.tier.read(key).await {
        Sought::Copied(copied) => fleet.adopt(core, &target, hash, before, &copied),
        Sought::Missing(id) => Seen::nothing(id),
        Sought::Silent => return Seek::Go(None),
    };
    let began = Instant::now();
    let (mut pause, mut waited, mut replaced) = (FIRST_PAUSE, false, 0);
    loop {
        let (mut revalidating, mut others) = (None, false);
        match core.chosen(&seen.all, core.now(), &plan.client) {
            Found::This(stored, standing) => {
                match reuse(&stored.head.terms, standing, &plan.asked) {
                    Verdict::Fresh | Verdict::Stale => {
                        if waited {
                            fleet.tier.waited(SharedWait::Served);
                        }
                        if !behind {
                            core.engine.metrics.request(Counted::Shared);
                        }
                        return Seek::Serve(stored);
                    }
                    Verdict::Revalidating => revalidating = Some(stored.clone()),
                    Verdict::Validate(_) => {}
                }
                plan.stale = Some(stored);
            }
            Found::Others(_) | Found::Part => others = true,
            Found::Nothing => {}
        }
        let alone = seen.alone == Some(Alone::Unshared);
        if alone {
            core.mark_unshared(hash);
        }
        // Nobody is waited for, and what comes may be of another kind than the last.
        let waits = seen.alone.is_none();
        let go = |permit| if alone { Seek::Alone(permit) } else { Seek::Go(permit) };
        if cfg!(broken = "http_fleet_lease") {
            return Seek::Go(None);
        }
        // What is asked for under the lease is from after this.
        plan.before = core.before(hash);
        let copied = match fleet.tier.acquire(key, seen.id).await {
            Claim::Leased(lease, _) => {
                if waited {
                    fleet.tier.waited(SharedWait::Taken);
                }
                let mut permit = Permit {
                    fleet: Arc::clone(fleet),
                    target: target.clone(),
                    lease: Some(lease),
                    leased: core.now(),
                    base: Variants::default(),
                };
                if seen.shares {
                    permit.base = fleet.base(core, key, plan.before).await;
                }
                #[cfg(broken = "http_base")]
                permit.base.clone_from(&seen.all);
                return go(Some(permit));
            }
            Claim::Copied(copied) => copied,
            Claim::Replace(id) => {
                seen = Seen::nothing(Some(id));
                replaced += 1;
                if replaced > MOST_REPLACED {
                    return Seek::Go(None);
                }
                continue;
            }
            Claim::Held => {
                if behind {
                    return Seek::Leave;
                }
                if let Some(stored) = revalidating {
                    core.engine.metrics.request(Counted::Stale);
                    return Seek::Serve(stored);
                }
                let patience = fleet.tier.settings.patience;
                let patience = if others { patience / VARIANTS } else { patience };
                if !waits || plan.asked.no_cache {
                    return go(None);
                }
                if began.elapsed() >= patience {
                    fleet.tier.waited(SharedWait::TimedOut);
                    return Seek::Go(None);
                }
                waited = true;
                // By chance, so that those who wait do not come in step.
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            Claim::Full | Claim::Silent => return go(None),
        };
        replaced += 1;
        if replaced > MOST_REPLACED {
            return Seek::Go(None);
        }
        let before = plan.before;
        seen = fleet.adopt(core, &target, hash, before, &copied);
    }
}

impl Fleet {
    /// Whether what servers share may be asked for. It waits for the first news.
    async fn is_ready(self: &Arc<Self>, core: &Arc<Core>) -> bool {
        self.follow(core);
        self.first_news(self.tier.settings.timeout).await;
        self.is_usable(core.now())
    }

    /// What is stored for all servers, to be stored again beside what comes. It is read under
    /// the lease: what was read before may have been purged before the lease was given, and
    /// what only this server has may have been, too.
    async fn base(self: &Arc<Self>, core: &Core, key: &[u8], before: Before) -> Variants {
        match self.tier.read(key).await {
            Sought::Copied(copied) => {
                Variants { list: self.good(core, before, &copied).unwrap_or_default().into() }
            }
            Sought::Missing(_) | Sought::Silent => Variants::default(),
        }
    }

    /// What was not purged since it was asked for. `before` is from before it was read. None
    /// if that cannot be told.
    fn good(&self, core: &Core, before: Before, copied: &Copied<Page>) -> Option<Vec<Stored>> {
        let page = copied.value.as_ref()?;
        let now = core.now();
        let good = {
            let replica = self.replica();
            let sheets = page.sheets.iter().filter_map(|sheet| {
                let (since, fresh_since) = (sheet.since, sheet.fresh_since);
                let fresh = match replica.worth(page.life, &sheet.marks, since, fresh_since) {
                    Worth::Nothing => return None,
                    Worth::Outdated => NEVER,
                    Worth::Good => before.fresh_since,
                };
                let shared = replica.shared(sheet);
                Some(sheet.stored(now, copied.age, before.since, fresh, shared))
            });
            sheets.collect()
        };
        // The tables must not have been too old when they were looked at.
        self.is_usable(core.now()).then_some(good)
    }

    /// Keeps here what others have stored, as far as it was not purged since.
    fn adopt(
        &self,
        core: &Core,
        target: &Target,
        hash: u64,
        before: Before,
        copied: &Copied<Page>,
    ) -> Seen {
        let (id, page) = (Some(copied.id), copied.value.as_ref());
        let (Some(good), Some(page)) = (self.good(core, before, copied), page) else {
            return Seen::nothing(id);
        };
        let alone = page.alone.filter(|(_, span)| copied.age < *span).map(|(why, _)| why);
        let shares = !good.is_empty();
        Seen { id, all: core.merge(target, hash, before.stamp, good), shares, alone }
    }
}
