//! Applies decisions.

#[cfg(feature = "exec")]
mod exec;
#[cfg(feature = "processes")]
mod processes;
mod recommend;

#[cfg(feature = "exec")]
pub use self::exec::{Exec, ExecError};
#[cfg(feature = "processes")]
pub use self::processes::{LocalProcesses, ProcessChanges, ProcessError};
pub use self::recommend::RecommendOnly;
use crate::observation::{Instance, InstanceId};

/// What is asked of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resize {
    /// How many instances there are, or were asked for before.
    pub from: u32,
    /// How many there should be.
    pub to: u32,
    /// Which to remove, the first of them first; empty where none are. A platform that
    /// cannot choose may take others.
    pub removal: Vec<InstanceId>,
}

impl Resize {
    /// A change that leaves it to the platform which instances go.
    #[must_use]
    pub const fn new(from: u32, to: u32) -> Self {
        Self { from, to, removal: Vec::new() }
    }

    /// Which instances to remove first, as [`Scaler::removal`](crate::Scaler::removal)
    /// says.
    #[must_use]
    pub fn removal(mut self, order: Vec<InstanceId>) -> Self {
        self.removal = order;
        self
    }
}

/// Makes a platform run so many instances.
///
/// After [`Scaler::submitted`](crate::Scaler::submitted), pass what it returns to
/// [`Scaler::applied`](crate::Scaler::applied), and an error to
/// [`Scaler::failed`](crate::Scaler::failed). `Controller` does so.
pub trait Actuator {
    /// Why it failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Asks for `resize.to` instances. Returns how many the platform has taken: that, or
    /// what it could do of it. Asked twice for the same, it changes nothing the second
    /// time.
    ///
    /// # Errors
    ///
    /// The platform could not be asked, or has refused.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, nobody knows what the platform has taken. Then say
    /// `failed`, and look at what is there.
    fn set(&self, resize: &Resize) -> impl Future<Output = Result<u32, Self::Error>> + Send;
}

/// What a platform runs at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// How many instances it was asked for, where it says so.
    pub target: Option<u32>,
    /// Those there are.
    pub instances: Vec<Instance>,
}

/// Tells which instances there are.
pub trait Roster {
    /// Why it cannot tell.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What runs now.
    ///
    /// # Errors
    ///
    /// The platform could not be asked. Never an empty fleet instead: that would be
    /// believed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    fn seen(&self) -> impl Future<Output = Result<Seen, Self::Error>> + Send;
}

impl<T: Actuator + Sync> Actuator for &T {
    type Error = T::Error;

    async fn set(&self, resize: &Resize) -> Result<u32, T::Error> {
        (**self).set(resize).await
    }
}

impl<T: Roster + Sync> Roster for &T {
    type Error = T::Error;

    async fn seen(&self) -> Result<Seen, T::Error> {
        (**self).seen().await
    }
}
