//! The registered claims: RFC 7519, 8693, 9068.

use std::cell::Cell;

use serde::de::{IgnoredAny, MapAccess};

use super::refusal::Refusal;
use crate::json::{self, Fault, Members, Text, Texts};

/// What the issuer sets, and an application's claims must not.
pub(crate) const REGISTERED: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "sid",
    "uep",
    "cnf",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "act",
    "may_act",
];

/// Dates past this are no dates: 2^53 − 1, the last exact number in JSON.
const LATEST: u64 = (1 << 53) - 1;

#[derive(Default)]
pub(super) struct Claims<'a> {
    pub(super) iss: Option<Text<'a>>,
    pub(super) sub: Option<Text<'a>>,
    pub(super) aud: Option<Texts<'a>>,
    pub(super) exp: Option<u64>,
    pub(super) nbf: Option<u64>,
    pub(super) iat: Option<u64>,
    pub(super) jti: Option<Text<'a>>,
    pub(super) client_id: Option<Text<'a>>,
    pub(super) scope: Option<Texts<'a>>,
    pub(super) sid: Option<Text<'a>>,
    pub(super) uep: Option<u64>,
    pub(super) roles: Option<Texts<'a>>,
    /// The name of the claim that holds the scope.
    scope_claim: &'a str,
    /// Whether anything is left for the application's own type.
    pub(super) has_more: bool,
}

impl<'de> Members<'de> for Claims<'de> {
    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &Cell<Fault>,
    ) -> Result<bool, A::Error> {
        match name {
            "iss" => self.iss = json::value("iss", map, fault)?,
            "sub" => self.sub = json::value("sub", map, fault)?,
            "aud" => self.aud = json::value("aud", map, fault)?,
            "exp" => self.exp = json::value("exp", map, fault)?,
            "nbf" => self.nbf = json::value("nbf", map, fault)?,
            "iat" => self.iat = json::value("iat", map, fault)?,
            "jti" => self.jti = json::value("jti", map, fault)?,
            "client_id" => self.client_id = json::value("client_id", map, fault)?,
            "sid" => self.sid = json::value("sid", map, fault)?,
            "uep" => self.uep = json::value("uep", map, fault)?,
            "roles" => {
                self.has_more = true;
                self.roles = json::value("roles", map, fault)?;
            }
            name if name == self.scope_claim => self.scope = json::value("scope", map, fault)?,
            // Bound to a key by DPoP (RFC 9449): as a bearer it must not pass.
            "cnf" => {
                let _: Option<IgnoredAny> = json::value("cnf", map, fault)?;
                return json::forbidden::<A>("cnf", fault);
            }
            _ => {
                self.has_more = true;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<'a> Claims<'a> {
    pub(super) fn parse(bytes: &'a [u8], scope_claim: &'a str) -> Result<Self, Refusal> {
        let mut claims = Self { scope_claim, ..Self::default() };
        json::object(bytes, &mut claims).map_err(|fault| match fault {
            Fault::Syntax => Refusal::PayloadJson,
            Fault::Duplicate => Refusal::Duplicate,
            Fault::TooDeep => Refusal::TooDeep,
            Fault::Type(name) | Fault::Forbidden(name) => Refusal::ClaimType(name),
        })?;
        for (name, date) in [("exp", claims.exp), ("nbf", claims.nbf), ("iat", claims.iat)] {
            if date.is_some_and(|date| date > LATEST) {
                return Err(Refusal::ClaimType(name));
            }
        }
        Ok(claims)
    }
}

/// A claim as text.
pub(super) fn text<'a>(claim: &'a Option<Text<'_>>) -> Option<&'a str> {
    claim.as_ref().map(|Text(text)| &**text)
}
