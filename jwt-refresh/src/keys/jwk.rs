//! A JSON Web Key as it was written: RFC 7517, 7518, 8037.

use std::cell::Cell;

use aws_lc_rs::digest;
use serde::de::MapAccess;
use zeroize::Zeroizing;

use super::error::KeyError;
use crate::algorithm::Algorithm;
use crate::encoding;
use crate::json::{self, Fault, Members, Text, Texts};

/// What was written, unjudged. It has no `Debug`: it may hold a secret.
#[derive(Default)]
pub(super) struct Jwk {
    pub(super) kty: Option<String>,
    pub(super) crv: Option<String>,
    pub(super) alg: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) usage: Option<String>,
    pub(super) key_ops: Option<Vec<String>>,
    pub(super) x: Option<String>,
    pub(super) y: Option<String>,
    pub(super) n: Option<String>,
    pub(super) e: Option<String>,
    pub(super) k: Option<Zeroizing<String>>,
    pub(super) private: bool,
}

impl<'de> Members<'de> for Jwk {
    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        fault: &Cell<Fault>,
    ) -> Result<bool, A::Error> {
        let (name, field) = match name {
            "kty" => ("kty", &mut self.kty),
            "crv" => ("crv", &mut self.crv),
            "alg" => ("alg", &mut self.alg),
            "kid" => ("kid", &mut self.kid),
            "use" => ("use", &mut self.usage),
            "x" => ("x", &mut self.x),
            "y" => ("y", &mut self.y),
            "n" => ("n", &mut self.n),
            "e" => ("e", &mut self.e),
            "k" => {
                let text: Option<Text<'de>> = json::value("k", map, fault)?;
                self.k = text.map(|Text(text)| Zeroizing::new(text.into_owned()));
                return Ok(true);
            }
            "key_ops" => {
                let ops: Option<Texts<'de>> = json::value("key_ops", map, fault)?;
                self.key_ops = ops.map(|Texts(ops)| ops.into_iter().map(Into::into).collect());
                return Ok(true);
            }
            "d" | "p" | "q" | "dp" | "dq" | "qi" | "oth" => {
                self.private = true;
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let text: Option<Text<'de>> = json::value(name, map, fault)?;
        *field = text.map(|Text(text)| text.into_owned());
        Ok(true)
    }
}

impl Jwk {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut jwk = Self::default();
        json::object(bytes, &mut jwk).map_err(|fault| match fault {
            Fault::Type(name) => KeyError::Parameter(name),
            _ => KeyError::Json,
        })?;
        Ok(jwk)
    }

    pub(super) fn ed25519(public: &[u8]) -> Self {
        Self {
            kty: Some("OKP".into()),
            crv: Some("Ed25519".into()),
            x: Some(encoding::encode(public)),
            ..Self::default()
        }
    }

    pub(super) fn p256(x: &[u8], y: &[u8]) -> Self {
        Self {
            kty: Some("EC".into()),
            crv: Some("P-256".into()),
            x: Some(encoding::encode(x)),
            y: Some(encoding::encode(y)),
            ..Self::default()
        }
    }

    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Self {
        Self {
            kty: Some("RSA".into()),
            alg: Some(algorithm.name().into()),
            n: Some(encoding::encode(n)),
            e: Some(encoding::encode(e)),
            ..Self::default()
        }
    }

    pub(super) fn hmac(secret: &[u8]) -> Self {
        Self {
            kty: Some("oct".into()),
            k: Some(Zeroizing::new(encoding::encode(secret))),
            ..Self::default()
        }
    }

    /// The one algorithm that a key of this kind is for.
    pub(super) fn algorithm(&self) -> Result<Algorithm, KeyError> {
        let alg = self.alg.as_deref();
        let (natural, fits) = match self.kty.as_deref() {
            Some("OKP") => (Algorithm::EdDsa, &["EdDSA", "Ed25519"][..]),
            Some("EC") => (Algorithm::Es256, &["ES256"][..]),
            Some("RSA") if alg == Some("PS256") => (Algorithm::Ps256, &["PS256"][..]),
            Some("RSA") => (Algorithm::Rs256, &["RS256"][..]),
            Some("oct") => (Algorithm::Hs256, &["HS256"][..]),
            _ => return Err(KeyError::KeyType),
        };
        match alg {
            Some(alg) if !fits.contains(&alg) => Err(KeyError::Algorithm),
            _ => Ok(natural),
        }
    }

    /// As a verifier may see it.
    pub(super) fn published(self, algorithm: Algorithm, kid: &str) -> Self {
        Self {
            alg: Some(algorithm.name().to_owned()),
            kid: Some(kid.to_owned()),
            usage: Some("sig".to_owned()),
            key_ops: None,
            k: None,
            private: false,
            ..self
        }
    }

    /// Its public members; `k` is never written.
    pub(super) fn to_json(&self) -> String {
        let members = [
            ("kty", &self.kty),
            ("crv", &self.crv),
            ("x", &self.x),
            ("y", &self.y),
            ("n", &self.n),
            ("e", &self.e),
            ("alg", &self.alg),
            ("use", &self.usage),
            ("kid", &self.kid),
        ];
        let members: serde_json::Map<_, _> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
            .collect();
        serde_json::Value::Object(members).to_string()
    }
}

/// SHA-256 over the required members in the order of their names, RFC 7638.
pub(super) fn thumbprint(jwk: &Jwk) -> Result<String, KeyError> {
    fn text<'a>(value: &'a Option<String>, name: &'static str) -> Result<&'a str, KeyError> {
        value.as_deref().ok_or(KeyError::Parameter(name))
    }
    // Admission has found them to be base64url, so nothing needs an escape.
    let canonical = Zeroizing::new(match text(&jwk.kty, "kty")? {
        "OKP" => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(&jwk.x, "x")?),
        "EC" => format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            text(&jwk.x, "x")?,
            text(&jwk.y, "y")?
        ),
        "RSA" => format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            text(&jwk.e, "e")?,
            text(&jwk.n, "n")?
        ),
        "oct" => {
            let k = jwk.k.as_ref().ok_or(KeyError::Parameter("k"))?;
            format!(r#"{{"k":"{}","kty":"oct"}}"#, k.as_str())
        }
        _ => return Err(KeyError::KeyType),
    });
    Ok(encoding::encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638, section 3.1.
    #[test]
    fn the_thumbprint_is_the_rfcs() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let json =
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
        let jwk = Jwk::parse(json.as_bytes()).unwrap_or_default();
        assert_eq!(thumbprint(&jwk).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
