use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{Claims, text};
use super::live::LiveSet;
use super::refusal::Refusal;
use crate::keys::{KeySet, RemoteJwks, SigningKeys};

/// Where the keys of a profile come from: the configuration, the issuer in this
/// process, or a URL. Never from a token.
#[derive(Clone)]
pub struct KeySource(pub(super) Source);

#[derive(Clone)]
pub(super) enum Source {
    Live(Arc<LiveSet>),
    Remote(RemoteJwks),
}

impl KeySource {
    #[inline]
    pub(super) fn live(&self) -> &Arc<LiveSet> {
        match &self.0 {
            Source::Live(live) => live,
            Source::Remote(remote) => remote.live(),
        }
    }

    pub(super) fn remote(&self) -> Option<&RemoteJwks> {
        match &self.0 {
            Source::Live(_) => None,
            Source::Remote(remote) => Some(remote),
        }
    }
}

impl From<KeySet> for KeySource {
    fn from(set: KeySet) -> Self {
        Self(Source::Live(Arc::new(LiveSet::new(set))))
    }
}

impl From<RemoteJwks> for KeySource {
    fn from(remote: RemoteJwks) -> Self {
        Self(Source::Remote(remote))
    }
}

impl From<&SigningKeys> for KeySource {
    fn from(keys: &SigningKeys) -> Self {
        Self(Source::Live(keys.live()))
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.live().load().fmt(f)
    }
}

/// What the access tokens of one issuer must look like.
#[derive(Clone, Debug)]
#[must_use]
pub struct Profile {
    pub(super) issuer: String,
    /// Nothing only where the absence was asked for.
    pub(super) audience: Option<String>,
    pub(super) keys: KeySource,
    typ: Typ,
    pub(super) own: bool,
    pub(super) scope_claim: &'static str,
    max_lifetime_secs: u64,
}

#[derive(Clone, Debug)]
enum Typ {
    /// RFC 9068: `at+jwt`, or with its `application/`.
    AccessToken,
    Named(&'static str),
    NamedOrAbsent(&'static str),
}

impl Profile {
    /// Tokens of RFC 9068, as [`Issuer`](crate::Issuer) makes them: `typ` is
    /// `at+jwt`, and `iss`, `sub`, `aud`, `exp`, `iat`, `jti`, `client_id`, `sid`
    /// and `uep` are there. A token may be valid for at most an hour.
    pub fn own(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: impl Into<KeySource>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: Some(audience.into()),
            keys: keys.into(),
            typ: Typ::AccessToken,
            own: true,
            scope_claim: "scope",
            max_lifetime_secs: 3_600,
        }
    }

    /// Tokens of another issuer. `typ` must be `JWT`; `iss`, `sub`, `aud` and
    /// `exp` must be there; a token may be valid for at most 24 hours. Such
    /// tokens have no session here: only a `jti` of theirs can be revoked. What they
    /// say of scopes and roles counts as what our own say: an issuer that is not to
    /// grant those gets a verifier of its own.
    pub fn foreign(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: impl Into<KeySource>,
    ) -> Self {
        Self {
            typ: Typ::Named("JWT"),
            own: false,
            max_lifetime_secs: 24 * 3_600,
            ..Self::own(issuer, audience, keys)
        }
    }

    /// Expects this `typ`, without regard to case. On a foreign profile only.
    pub fn typ(mut self, typ: &'static str) -> Self {
        if !self.own {
            self.typ = Typ::Named(typ);
        }
        self
    }

    /// Also takes tokens without a `typ`, for issuers that set none. On a
    /// foreign profile only. Another kind of that issuer's tokens, such as an ID
    /// token, is then told apart by its audience alone.
    pub fn typ_may_be_absent(mut self) -> Self {
        if let Typ::Named(typ) = self.typ {
            self.typ = Typ::NamedOrAbsent(typ);
        }
        self
    }

    /// Takes tokens that name no audience, for issuers that set none. On a
    /// foreign profile only. One that names others is refused all the same.
    pub fn audience_may_be_absent(mut self) -> Self {
        if !self.own {
            self.audience = None;
        }
        self
    }

    /// The claim that holds the scope, `scope` by default; some have `scp`.
    pub fn scope_claim(mut self, name: &'static str) -> Self {
        if !self.own {
            self.scope_claim = name;
        }
        self
    }

    /// The longest time between `iat` and `exp` of a foreign token, at most 7
    /// days. The default is 24 hours.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        if !self.own {
            self.max_lifetime_secs = lifetime.as_secs().min(7 * 24 * 3_600);
        }
        self
    }

    pub(super) fn check_typ(&self, typ: Option<&str>) -> Result<(), Refusal> {
        let fits = match (&self.typ, typ) {
            (Typ::AccessToken, Some(typ)) => {
                typ.eq_ignore_ascii_case("at+jwt")
                    || typ.eq_ignore_ascii_case("application/at+jwt")
            }
            (Typ::Named(name) | Typ::NamedOrAbsent(name), Some(typ)) => {
                typ.eq_ignore_ascii_case(name)
            }
            (Typ::NamedOrAbsent(_), None) => true,
            (_, None) => false,
        };
        if fits || cfg!(broken = "any_typ") { Ok(()) } else { Err(Refusal::Type) }
    }

    /// The verdict on the registered claims at `now`, in seconds.
    pub(super) fn check(
        &self,
        claims: &Claims<'_>,
        now: u64,
        leeway: u64,
    ) -> Result<u64, Refusal> {
        let missing = |name| move || Refusal::MissingClaim(name);
        if text(&claims.iss).ok_or_else(missing("iss"))? != self.issuer {
            return Err(Refusal::Issuer);
        }
        text(&claims.sub).ok_or_else(missing("sub"))?;
        self.check_audience(claims)?;
        let exp = claims.exp.ok_or_else(missing("exp"))?;
        if self.own {
            for (name, absent) in [
                ("iat", claims.iat.is_none()),
                ("jti", claims.jti.is_none()),
                ("client_id", claims.client_id.is_none()),
                ("sid", claims.sid.is_none()),
                ("uep", claims.uep.is_none()),
            ] {
                if absent {
                    return Err(Refusal::MissingClaim(name));
                }
            }
        }
        check_dates(exp, claims.nbf, claims.iat, now, leeway)?;
        // Without an `iat` the token was made by now at the latest.
        let made = claims.iat.unwrap_or(now);
        if exp < made || exp - made > self.max_lifetime_secs {
            return Err(Refusal::Lifetime);
        }
        Ok(exp)
    }

    fn check_audience(&self, claims: &Claims<'_>) -> Result<(), Refusal> {
        match (&self.audience, &claims.aud) {
            (Some(us), Some(aud)) if aud.0.iter().any(|aud| aud == us) => Ok(()),
            (None, None) => Ok(()),
            (Some(_), None) => Err(Refusal::MissingClaim("aud")),
            _ => Err(Refusal::Audience),
        }
    }
}

/// RFC 7519, 4.1.4 to 4.1.6: `exp` is the first moment at which it is refused.
pub(super) fn check_dates(
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    now: u64,
    leeway: u64,
) -> Result<(), Refusal> {
    if now >= exp.saturating_add(leeway) && !cfg!(broken = "no_expiry") {
        return Err(Refusal::Expired);
    }
    if nbf.is_some_and(|nbf| now.saturating_add(leeway) < nbf) {
        return Err(Refusal::NotYetValid);
    }
    if iat.is_some_and(|iat| now.saturating_add(leeway) < iat) {
        return Err(Refusal::IssuedInFuture);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the rule in wider numbers.
        #[test]
        fn dates_hold_up_to_the_leeway(
            exp in 0_u64..1 << 53, nbf in proptest::option::of(0_u64..1 << 53),
            iat in proptest::option::of(0_u64..1 << 53), now in 0_u64..1 << 53, leeway in 0_u64..=60,
        ) {
            let wide = |n: u64| i128::from(n);
            let good = wide(now) < wide(exp) + wide(leeway)
                && nbf.is_none_or(|nbf| wide(nbf) - wide(leeway) <= wide(now))
                && iat.is_none_or(|iat| wide(iat) - wide(leeway) <= wide(now));
            prop_assert_eq!(check_dates(exp, nbf, iat, now, leeway).is_ok(), good);
        }
    }

    #[test]
    fn the_moment_of_expiry_is_too_late() {
        assert_eq!(check_dates(100, None, None, 144, 45), Ok(()));
        assert_eq!(check_dates(100, None, None, 145, 45), Err(Refusal::Expired));
        assert_eq!(check_dates(200, Some(146), None, 100, 45), Err(Refusal::NotYetValid));
        assert_eq!(check_dates(200, Some(145), Some(145), 100, 45), Ok(()));
        assert_eq!(check_dates(200, None, Some(146), 100, 45), Err(Refusal::IssuedInFuture));
    }
}
