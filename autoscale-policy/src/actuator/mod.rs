//! Applies decisions.

mod recommend;

pub use self::recommend::RecommendOnly;

/// Makes a platform run so many instances.
///
/// After [`Scaler::submitted`](crate::Scaler::submitted), pass what it returns to
/// [`Scaler::applied`](crate::Scaler::applied), and an error to
/// [`Scaler::failed`](crate::Scaler::failed).
pub trait Actuator {
    /// Why it failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Asks for `to` instances, where `from` were asked for before. Returns how many the
    /// platform has taken: `to`, or what it could do of it.
    ///
    /// # Errors
    ///
    /// The platform could not be asked, or has refused.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, nobody knows what the platform has taken. Then say
    /// `failed`, and look at what is there.
    fn set(&self, from: u32, to: u32) -> impl Future<Output = Result<u32, Self::Error>> + Send;
}
