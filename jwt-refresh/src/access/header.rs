//! The header of a token: RFC 7515, section 4.

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::MapAccess;

use super::refusal::Refusal;
use crate::json::{self, Fault, Members, Text};

/// The longest header, decoded.
const LONGEST: usize = 1_024;

#[derive(Default)]
pub(super) struct Header<'a> {
    pub(super) alg: Option<Text<'a>>,
    pub(super) typ: Option<Text<'a>>,
    pub(super) kid: Option<Text<'a>>,
}

impl<'de> Members<'de> for Header<'de> {
    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &Cell<Fault>,
    ) -> Result<bool, A::Error> {
        let forbidden = match name {
            "alg" => {
                self.alg = json::value("alg", map, fault)?;
                return Ok(true);
            }
            "typ" => {
                self.typ = json::value("typ", map, fault)?;
                return Ok(true);
            }
            "kid" => {
                self.kid = json::value("kid", map, fault)?;
                return Ok(true);
            }
            // Whatever they hold: a key or its address from the token itself,
            // an extension that must be understood, another encoding.
            "crit" => "crit",
            "jku" => "jku",
            "x5u" => "x5u",
            "jwk" => "jwk",
            "x5c" => "x5c",
            "zip" => "zip",
            "b64" => "b64",
            _ => return Ok(false),
        };
        if cfg!(broken = "accepts_crit") {
            return Ok(false);
        }
        json::forbidden::<A>(forbidden, fault)
    }
}

impl<'a> Header<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > LONGEST {
            return Err(Refusal::HeaderTooLong);
        }
        let mut header = Self::default();
        json::object(bytes, &mut header).map_err(|fault| match fault {
            Fault::Syntax => Refusal::HeaderJson,
            Fault::Duplicate => Refusal::Duplicate,
            Fault::TooDeep => Refusal::TooDeep,
            Fault::Type(name) => Refusal::HeaderType(name),
            Fault::Forbidden(name) => Refusal::HeaderParameter(name),
        })?;
        Ok(header)
    }

    pub(super) fn text(field: &'a Option<Text<'a>>) -> Option<&'a str> {
        field.as_ref().map(|Text(text)| match text {
            Cow::Borrowed(text) => *text,
            Cow::Owned(text) => text.as_str(),
        })
    }
}
