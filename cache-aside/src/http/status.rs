//! `Cache-Status` (RFC 9211): what the cache did with a request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::text::with_text;

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went to the origin (section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forward {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
    /// There is a part, which has not all that is asked for.
    Partial,
}

impl Forward {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// One member of the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status<'k> {
    pub(super) hit: bool,
    pub(super) forward: Option<Forward>,
    /// What the origin answered, where that is not what the client gets.
    pub(super) forward_status: Option<StatusCode>,
    pub(super) stored: bool,
    pub(super) collapsed: bool,
    /// How long it is still fresh, or for how long it has been stale.
    pub(super) ttl: Option<Ttl>,
    pub(super) key: Option<&'k str>,
    pub(super) detail: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ttl {
    pub(super) lifetime: Duration,
    pub(super) age: Duration,
}

impl Status<'_> {
    /// Puts it at the end of the list, which is nearest to the client.
    pub(super) fn append(&self, name: &str, headers: &mut HeaderMap) {
        headers.append(CACHE_STATUS, self.value(name));
    }

    fn value(&self, name: &str) -> HeaderValue {
        with_text(|text| {
            self.write(name, text);
            HeaderValue::from_str(text).expect("it is of visible letters and spaces")
        })
    }

    fn write(&self, name: &str, text: &mut String) {
        text.push_str(name);
        if self.hit {
            text.push_str("; hit");
        }
        if let Some(forward) = self.forward {
            text.push_str("; fwd=");
            text.push_str(forward.token());
        }
        if let Some(status) = self.forward_status {
            text.push_str("; fwd-status=");
            text.push_str(status.as_str());
        }
        if let Some(Ttl { lifetime, age }) = self.ttl {
            let left = lifetime.as_secs() as i64 - age.as_secs() as i64;
            text.push_str("; ttl=");
            text.push_str(itoa::Buffer::new().format(left));
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(key) = self.key {
            text.push_str("; key=\"");
            for letter in key.chars().filter(|letter| matches!(letter, ' '..='~')) {
                if matches!(letter, '"' | '\\') {
                    text.push('\\');
                }
                text.push(letter);
            }
            text.push('"');
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            text.push_str(detail);
        }
    }
}

/// Whether it can be the name of a cache: a token of structured fields.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'*')
        && bytes
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &Status<'_>) -> String {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_STATUS, HeaderValue::from_static("Origin; hit"));
        status.append("Edge", &mut headers);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(lines[0], "Origin; hit", "those before it stay before it");
        lines[1].to_str().unwrap().to_owned()
    }

    #[test]
    fn each_parameter_in_its_form() {
        let ttl = |lifetime, age| {
            Some(Ttl { lifetime: Duration::from_secs(lifetime), age: Duration::from_secs(age) })
        };
        assert_eq!(
            text(&Status { hit: true, ttl: ttl(60, 20), ..Status::default() }),
            "Edge; hit; ttl=40"
        );
        assert_eq!(
            text(&Status { hit: true, ttl: ttl(60, 80), ..Status::default() }),
            "Edge; hit; ttl=-20"
        );
        let missed = Status {
            forward: Some(Forward::UriMiss),
            forward_status: Some(StatusCode::OK),
            stored: true,
            collapsed: true,
            key: Some("http://h/\"\\\u{e4}"),
            detail: Some("private"),
            ..Status::default()
        };
        assert_eq!(
            text(&missed),
            r#"Edge; fwd=uri-miss; fwd-status=200; stored; collapsed; key="http://h/\"\\"; detail=private"#
        );
    }

    #[test]
    fn every_reason_has_its_token() {
        for (forward, token) in [
            (Forward::Bypass, "bypass"),
            (Forward::Method, "method"),
            (Forward::UriMiss, "uri-miss"),
            (Forward::VaryMiss, "vary-miss"),
            (Forward::Request, "request"),
            (Forward::Stale, "stale"),
            (Forward::Partial, "partial"),
        ] {
            let status = Status { forward: Some(forward), ..Status::default() };
            assert_eq!(text(&status), format!("Edge; fwd={token}"));
        }
    }

    #[test]
    fn a_name_is_a_token() {
        for name in ["cache-aside", "Edge", "*x", "a:b/c"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1a", "a b", "a\"", "\u{e4}", "-a"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
