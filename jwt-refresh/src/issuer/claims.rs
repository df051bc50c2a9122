use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::REGISTERED;
use crate::error::{BoxError, Error};
use crate::store::Described;

/// The longest claims in bytes: with what the issuer adds, a token stays below
/// the 8 KiB that a verifier reads.
const LONGEST: usize = 4 * 1_024;

/// The application's say at every refresh: what the new access token says about
/// the user, or that there is none.
pub trait ClaimsSource: Send + Sync + 'static {
    /// Asked before anything is used up, so a failure costs the client nothing.
    ///
    /// # Errors
    ///
    /// When the user could not be looked up. The client hears 503, and its retry
    /// is as good as the first try.
    ///
    /// # Cancel safety
    ///
    /// It is dropped at its deadline, or when the client hangs up.
    fn claims(
        &self,
        session: &Described,
    ) -> impl Future<Output = Result<Decision, BoxError>> + Send;
}

/// What a [`ClaimsSource`] has decided.
#[derive(Clone, Debug)]
pub struct Decision(pub(super) Result<Map<String, Value>, Refused>);

#[derive(Clone, Debug)]
pub(super) enum Refused {
    User,
    Claims(Arc<str>),
}

impl Decision {
    /// Goes on, with these claims: something that serialises to a JSON object.
    pub fn claims(claims: &impl Serialize) -> Self {
        Self(own_claims(claims).map_err(|error| match error {
            Error::InvalidClaims(reason) => Refused::Claims(reason),
            other => Refused::Claims(other.to_string().into()),
        }))
    }

    /// Goes on with the claims of the login.
    pub fn as_at_login(session: &Described) -> Self {
        Self(parse(&session.grant).map_err(|_| Refused::Claims("the row is damaged".into())))
    }

    /// Refuses this user: disabled, gone, or to log in again. The session stays
    /// as it is; [`Issuer::logout_all`](crate::Issuer::logout_all) ends it.
    pub fn refuse() -> Self {
        Self(Err(Refused::User))
    }
}

/// Checks the application's claims.
pub(super) fn own_claims(claims: &impl Serialize) -> Result<Map<String, Value>, Error> {
    let invalid = |reason: String| Error::InvalidClaims(reason.into());
    let value = serde_json::to_value(claims).map_err(|error| invalid(error.to_string()))?;
    let map = match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => return Err(invalid("they must serialise to a JSON object".to_owned())),
    };
    if let Some(name) = REGISTERED.iter().find(|name| map.contains_key(**name)) {
        return Err(invalid(format!("`{name}` is set by the issuer; name yours differently")));
    }
    if let Some(roles) = map.get("roles") {
        let texts = |roles: &Vec<Value>| roles.iter().all(Value::is_string);
        if !roles.as_array().is_some_and(texts) {
            return Err(invalid("`roles` must be a list of strings".to_owned()));
        }
    }
    if map.values().any(|value| depth(value) >= u32::from(crate::json::DEEPEST)) {
        return Err(invalid(format!("they are nested deeper than {}", crate::json::DEEPEST)));
    }
    let length = Value::Object(map.clone()).to_string().len();
    if length > LONGEST {
        return Err(invalid(format!("they have {length} bytes; at most {LONGEST} fit")));
    }
    Ok(map)
}

pub(super) fn parse(grant: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(grant).map_err(|_| Error::store("the session's claims are damaged"))
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A [`ClaimsSource`] whose type is chosen at run time.
pub(super) struct BoxClaims(Box<dyn Erased>);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Decision, BoxError>> + Send + 'a>>;

trait Erased: Send + Sync {
    fn claims<'a>(&'a self, session: &'a Described) -> Answer<'a>;
}

impl<S: ClaimsSource> Erased for S {
    fn claims<'a>(&'a self, session: &'a Described) -> Answer<'a> {
        Box::pin(ClaimsSource::claims(self, session))
    }
}

impl BoxClaims {
    pub(super) fn new(source: impl ClaimsSource) -> Self {
        Self(Box::new(source))
    }

    pub(super) async fn claims(&self, session: &Described) -> Result<Decision, BoxError> {
        self.0.claims(session).await
    }
}
