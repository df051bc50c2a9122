//! Telling the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::core::Core;
use super::{Event, Fleet};
use crate::shared::{Announcement, SharedError};

impl Fleet {
    /// Makes an event hold on every server: here at once, for what servers share when this
    /// returns, and for what others have themselves within the bound from then on. If that
    /// was not acknowledged it is owed, and told when it can be.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its end, it is owed. The first poll makes it hold here, and the end
    /// again.
    pub(in crate::http) async fn announce(
        &self,
        core: &Core,
        event: Event,
    ) -> Result<(), SharedError> {
        core.apply(&event);
        let incurred = Incurred { fleet: self, core, event: Some(event) };
        let event = incurred.event.as_ref().expect("it is taken when it is paid");
        self.tell(event).await?;
        incurred.paid();
        Ok(())
    }

    /// Tells it when it can be, for who cannot wait.
    pub(in crate::http) fn owe(&self, core: &Core, event: Event) {
        self.owed.add(event.clone());
        self.metrics.owed(self.owed.len());
        core.apply(&event);
        self.wake.notify_one();
    }

    /// What servers share goes first: who hears of it does not find it there any more.
    async fn tell(&self, event: &Event) -> Result<(), SharedError> {
        match event {
            Event::Uri(key) => self.tier.invalidate(key.as_bytes(), None).await?,
            Event::All => self.tier.clear().await?,
            Event::Purged(_) | Event::Outdated(_) => {}
        }
        if cfg!(broken = "http_news") {
            return Ok(());
        }
        let message = event.message(self.id);
        let announcement = Announcement { message: &message, noted: event.noted() };
        match self.tier.ask_first(self.news.announce(&announcement)).await {
            Ok(position) => {
                if !self.replica_mut().note(position.life, event, position.count)
                    && !cfg!(broken = "http_new_life")
                {
                    // Its tables are of another life.
                    self.begin_anew();
                }
                Ok(())
            }
            Err(SharedError::Full(_)) => {
                // There is no room to say what was purged; there is to say that all was.
                self.tier.ask_first(self.news.end_life()).await?;
                self.begin_anew();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Believes nothing before it has asked for news.
    fn begin_anew(&self) {
        let mut replica = self.replica_mut();
        replica.lose();
        self.trusted.store(0, Ordering::Release);
        drop(replica);
        self.wake.notify_one();
    }

    /// Tells what is owed.
    pub(super) async fn pay(&self, core: &Arc<Core>) {
        for (event, ticket) in self.owed.list() {
            if self.tell(&event).await.is_err() {
                return;
            }
            core.apply(&event);
            self.owed.paid(&event, ticket);
            self.metrics.owed(self.owed.len());
        }
    }
}

/// An event that is owed if it is dropped before it was told.
struct Incurred<'a> {
    fleet: &'a Fleet,
    core: &'a Core,
    event: Option<Event>,
}

impl Incurred<'_> {
    fn paid(mut self) {
        // Again: what was read meanwhile from what servers share is from before.
        if let Some(event) = self.event.take()
            && !cfg!(broken = "http_second_bump")
        {
            self.core.apply(&event);
        }
    }
}

impl Drop for Incurred<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.event.take()
            && !cfg!(broken = "http_owed")
        {
            self.fleet.owe(self.core, event);
        }
    }
}
