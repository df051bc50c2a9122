//! What a request may say: ids, bodies and their fields are checked here, before any work.

use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The largest body that is read.
pub(crate) const BODY_LIMIT: usize = 16 * 1024;

/// A row's number.
pub(crate) trait Id: Sized {
    /// What has such an id.
    const KIND: &'static str;

    /// Wraps `id`, which is at least 1.
    fn new(id: i64) -> Self;
}

/// The `{id}` of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: Id, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let text = text.map_err(|_| bad_id::<T>("what stands there is not UTF-8"))?;
        parse_id(&text.0).map(T::new).map(Self).map_err(bad_id::<T>)
    }
}

/// Digits only and no leading zero, so that a row has one URL.
fn parse_id(text: &str) -> Result<i64, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("an id is written in digits only, without a sign");
    }
    if text.starts_with('0') {
        return Err("ids start at 1 and have no leading zeros");
    }
    text.parse().map_err(|_| "that number is larger than any id")
}

fn bad_id<T: Id>(what: &str) -> Error {
    Error::new(
        StatusCode::BAD_REQUEST,
        "bad_id",
        what,
        format!("the {} id in the path", T::KIND),
        "use a whole number from 1 up, such as /products/17 or /users/4/orders",
    )
}

/// A JSON body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(bad_body(&rejection)),
        }
    }
}

fn bad_body(rejection: &JsonRejection) -> Error {
    let (code, what, fix) = match rejection {
        JsonRejection::JsonDataError(e) => (
            "bad_fields",
            detail(&e.body_text()),
            "send every field of the resource once, with its type, and no others".to_owned(),
        ),
        JsonRejection::JsonSyntaxError(e) => (
            "bad_json",
            detail(&e.body_text()),
            "send one JSON object, encoded as UTF-8".to_owned(),
        ),
        JsonRejection::MissingJsonContentType(_) => (
            "bad_content_type",
            "the body is not declared as JSON".to_owned(),
            "send the header `Content-Type: application/json`".to_owned(),
        ),
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => (
            "body_too_large",
            "the body is larger than any resource of this shop".to_owned(),
            format!("send {BODY_LIMIT} bytes at most"),
        ),
        _ => (
            "unread_body",
            "the body could not be read to its end".to_owned(),
            "send as many bytes as Content-Length says, without long pauses".to_owned(),
        ),
    };
    Error::new(rejection.status(), code, what, "the body", fix)
}

/// What serde says, without the name of the step that said it.
fn detail(text: &str) -> String {
    text.split_once(": ").map_or(text, |(_, detail)| detail).to_owned()
}

/// Refuses text that is blank, longer than `limit` characters, or holds control characters.
pub(crate) fn text(field: &str, value: &str, limit: usize) -> Result<(), Error> {
    if value.trim().is_empty() {
        return Err(bad_field(field, "is empty", format!("give it 1 to {limit} characters")));
    }
    if value.chars().count() > limit {
        return Err(bad_field(field, "is too long", format!("use {limit} characters at most")));
    }
    // PostgreSQL cannot store NUL; the rest has no place on a product page.
    if value.chars().any(|c| c.is_control() && c != '\n') {
        let fix = "leave out every control character but line feeds";
        return Err(bad_field(field, "holds a control character", fix));
    }
    Ok(())
}

/// Refuses numbers out of `range`.
pub(crate) fn number(
    field: &str,
    value: i64,
    range: RangeInclusive<i64>,
) -> Result<i64, Error> {
    if range.contains(&value) {
        return Ok(value);
    }
    let fix = format!("use a number from {} to {}", range.start(), range.end());
    Err(bad_field(field, &format!("is out of range: {value}"), fix))
}

/// Refuses what cannot be a mail address; only mail itself could tell more.
pub(crate) fn email(field: &str, value: &str) -> Result<(), Error> {
    text(field, value, 254)?;
    let (user, host) = value.rsplit_once('@').unwrap_or_default();
    if user.is_empty() || host.is_empty() || value.chars().any(char::is_whitespace) {
        return Err(bad_field(field, "is not a mail address", "write it as name@example.org"));
    }
    Ok(())
}

fn bad_field(field: &str, what: &str, fix: impl Into<String>) -> Error {
    Error::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "bad_field",
        format!("`{field}` {what}"),
        format!("the field `{field}` of the body"),
        fix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(parse_id("1"), Ok(1));
        assert_eq!(parse_id("9223372036854775807"), Ok(i64::MAX));
        for bad in ["", "0", "01", "+1", "-1", "1.0", "1e3", " 1", "١", "9223372036854775808"]
        {
            assert!(parse_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn text_is_bounded_in_characters_and_free_of_nul() {
        assert!(text("name", "Größe", 5).is_ok());
        for bad in ["", "  ", "six ch", "a\0b"] {
            assert!(text("name", bad, 5).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_email_has_two_sides() {
        assert!(email("email", "a@b").is_ok());
        for bad in ["a", "@b", "a@", "a b@c"] {
            assert!(email("email", bad).is_err(), "{bad:?}");
        }
    }
}
