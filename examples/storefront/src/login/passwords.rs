//! Passwords are checked by Argon2id: slowly, a few at a time, and for nobody as for somebody.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::Error;

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody types in. It is shown nowhere.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Password(String);

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The hash of `password` with a salt of its own, to be kept.
///
/// # Errors
///
/// Without random numbers.
pub(crate) fn hash(password: &Password) -> Result<String, Box<dyn StdError>> {
    // Argon2id with 19 MiB, 2 passes and 1 lane, the first choice of OWASP's cheat sheet.
    let hash: PasswordHash = Argon2::default().hash_password(password.0.as_bytes())?;
    Ok(hash.to_string())
}

/// Checks passwords, as many at once as there are cores: each takes 19 MiB, and a core.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// What an unknown user's password is compared with.
    decoy: Arc<str>,
}

impl Passwords {
    /// # Errors
    ///
    /// Without random numbers.
    pub(crate) fn new() -> Result<Self, Box<dyn StdError>> {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let decoy = hash(&Password("nobody has this password".to_owned()))?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), decoy: decoy.into() })
    }

    /// Whether `password` is the one whose hash is `kept`; of an unknown user there is none,
    /// which takes as long to find out.
    ///
    /// # Errors
    ///
    /// When too many wait already.
    ///
    /// # Cancel safety
    ///
    /// A check that has begun goes on in its thread, and keeps its turn until it ends: who
    /// hangs up at once cannot have more of them than others.
    pub(crate) async fn check(
        &self,
        kept: Option<String>,
        password: Password,
    ) -> Result<bool, Error> {
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::busy())?.map_err(|_| Error::internal())?;
        let decoy = Arc::clone(&self.decoy);
        let checked = spawn_blocking(move || {
            let _turn = turn;
            let known = kept.is_some();
            if !known && cfg!(broken = "no_decoy") {
                return false;
            }
            let hash = kept.as_deref().unwrap_or(&decoy);
            // One that is damaged fits nothing.
            let fits = PasswordHash::new(hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.0.as_bytes(), &hash).is_ok()
            });
            known && fits
        });
        checked.await.map_err(|_| Error::internal())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;
    use tokio::time::Instant;
    use tokio_test::{assert_pending, task};

    use super::*;

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let passwords = Passwords::new().unwrap();
        let kept = hash(&"sesame".into()).unwrap();
        assert_ne!(kept, hash(&"sesame".into()).unwrap(), "each has a salt of its own");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        for (kept, password, right) in [
            (Some(kept.clone()), "sesame", true),
            (Some(kept.clone()), "Sesame", false),
            (Some(kept), "", false),
            (Some("damaged".to_owned()), "sesame", false),
            (None, "nobody has this password", false),
        ] {
            assert_eq!(passwords.check(kept, password.into()).await, Ok(right), "{password}");
        }
        assert_eq!(format!("{:?}", Password::from("sesame")), "Password");
    }

    #[tokio::test]
    async fn nobody_takes_as_long_as_somebody() {
        let passwords = Passwords::new().unwrap();
        let kept = hash(&"sesame".into()).unwrap();
        let somebody = Some(kept.clone());
        let mut shortest = [Duration::MAX; 2];
        for _ in 0..5 {
            for (kept, shortest) in [None, somebody.clone()].into_iter().zip(&mut shortest) {
                let began = Instant::now();
                assert_eq!(passwords.check(kept, "wrong".into()).await, Ok(false));
                *shortest = began.elapsed().min(*shortest);
            }
        }
        let [nobody, somebody] = shortest;
        // Without a hash to compare with it would be a thousandth; a busy machine is no reason.
        assert!(nobody > somebody / 10, "{nobody:?}, {somebody:?}");
        let costs = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(costs(&passwords.decoy), costs(&kept));
    }

    #[test]
    fn who_hangs_up_keeps_the_turn_until_the_check_has_ended() {
        // With one thread for checks, which is busy until it is told to go on.
        let runtime =
            Builder::new_current_thread().enable_time().max_blocking_threads(1).build();
        runtime.unwrap().block_on(async {
            let passwords = Passwords::new().unwrap();
            let (go_on, busy) = mpsc::channel::<()>();
            let thread = spawn_blocking(move || busy.recv().is_err());
            let turns = passwords.turns.available_permits();
            for _ in 0..turns {
                let mut check = task::spawn(passwords.check(None, "wrong".into()));
                assert_pending!(check.poll());
                // Begun, and given up.
                drop(check);
            }
            assert_eq!(passwords.turns.available_permits(), 0);
            drop(go_on);
            assert!(thread.await.unwrap());
            assert_eq!(passwords.check(None, "wrong".into()).await, Ok(false));
        });
    }
}
