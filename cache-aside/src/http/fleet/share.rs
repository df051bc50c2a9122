//! Storing for all servers.

use std::sync::Arc;
use std::time::Duration;

use super::super::core::Core;
use super::super::entry::{Stored, Variants};
use super::Fleet;
use super::page::{Alone, Page, Sheet};
use super::seek::Permit;
use crate::clock::Tick;
use crate::tier::{Content, Writing};

/// For how long nobody waits for others where that is of no use.
const ALONE: Duration = Duration::from_secs(60);

/// Left for the fields of a response.
const BESIDE: u64 = 4 << 10;

impl Fleet {
    /// Stores what came, beside what others have stored of that URI, in place of what the
    /// origin was asked about. It is refused if the URI was purged since the permit was given.
    pub(in crate::http) async fn store(
        &self,
        core: &Core,
        permit: Permit,
        stored: &Stored,
        replaced: Option<&Stored>,
    ) {
        let base = without(&permit.base, replaced);
        if stored.head.part.is_some() || !self.has_room(stored.content.len()) {
            return self.write(core, permit, base, Some((Alone::Large, ALONE))).await;
        }
        let most = core.settings.variants;
        // Those that go are counted where they go from here.
        let (all, _) = base.with(stored.clone(), most, u64::MAX, |_| true);
        self.write(core, permit, all, None).await;
    }

    /// Says that nobody is to wait for what comes, since it is not to be shared.
    pub(in crate::http) async fn leave_alone(
        &self,
        core: &Core,
        permit: Permit,
        why: Alone,
        gone: Option<&Stored>,
    ) {
        if cfg!(broken = "http_alone") {
            return;
        }
        let left = without(&permit.base, gone);
        self.write(core, permit, left, Some((why, ALONE))).await;
    }

    /// The same in a task of its own.
    pub(in crate::http) fn leave_alone_later(
        self: &Arc<Self>,
        core: &Arc<Core>,
        permit: Permit,
        why: Alone,
        gone: Option<Stored>,
    ) {
        let (fleet, core) = (Arc::clone(self), Arc::clone(core));
        tokio::spawn(async move {
            fleet.leave_alone(&core, permit, why, gone.as_ref()).await;
        });
    }

    async fn write(
        &self,
        core: &Core,
        mut permit: Permit,
        all: Variants,
        alone: Option<(Alone, Duration)>,
    ) {
        let Some(lease) = permit.take() else { return };
        let ttl = all.useful_for(core.now(), core.settings.keep_stale);
        let ttl = ttl.max(alone.map_or(Duration::ZERO, |(_, span)| span));
        let page = self.page(&all, alone, permit.leased);
        let content = page.filter(|_| !ttl.is_zero()).map(|page| Content {
            value: Some(Arc::new(page)),
            fresh: ttl,
            cost: Duration::ZERO,
            ttl,
            version: None,
        });
        self.tier.write(Writing { key: permit.key(), lease: &lease, content }).await;
    }

    /// As many of them as there is room for, the newest first. None if that is of no use.
    fn page(
        &self,
        all: &Variants,
        alone: Option<(Alone, Duration)>,
        leased: Tick,
    ) -> Option<Page> {
        let replica = self.replica();
        let life = replica.position()?.life;
        let mut room = self.largest();
        let fitting = all.list.iter().rev().filter_map(|stored| {
            let (_, since, fresh_since) = replica.told(stored.head.shared)?;
            let sheet = Sheet::of(stored, since, fresh_since, leased);
            room = room.checked_sub(sheet.size())?;
            Some(sheet)
        });
        let mut sheets: Vec<Sheet> = fitting.collect();
        sheets.reverse();
        (alone.is_some() || !sheets.is_empty()).then_some(Page { life, alone, sheets })
    }

    /// Whether a content of that length can be shared.
    pub(in crate::http) fn has_room(&self, length: u64) -> bool {
        length.saturating_add(BESIDE) <= self.largest()
    }

    fn largest(&self) -> u64 {
        self.tier.settings.largest as u64
    }
}

/// All that is not for the same requests.
fn without(all: &Variants, gone: Option<&Stored>) -> Variants {
    let stays =
        |stored: &&Stored| gone.is_none_or(|gone| stored.head.selection != gone.head.selection);
    Variants { list: all.list.iter().filter(stays).cloned().collect() }
}
