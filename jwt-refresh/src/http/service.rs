use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde_json::json;
use tower_service::Service;

use super::answer::{empty, error, failure, json as json_response};
use super::credentials::{self, has_token_in_query};
use super::form::Form;
use super::future::TokenFuture;
use super::introspect::{self, ClientAuth};
use super::transport::{COOKIES, Transport};
use crate::access::{NoClaims, TypedVerifier};
use crate::error::{BoxError, Error};
use crate::issuer::{Issuer, RefreshRequest, TokenPair};

/// The longest body, in bytes.
const LONGEST_BODY: usize = 16 * 1_024;
/// The header of a client's retry key.
const RETRY_KEY: &str = "idempotency-key";

type Answer = Response<Full<Bytes>>;

/// `POST` `refresh`, `logout` and `revoke`, `GET` `jwks.json`, and `POST`
/// `introspect` where it was asked for. The last segment of the path decides, so
/// it can be mounted anywhere.
///
/// Bodies are forms, answers JSON with `Cache-Control: no-store`, errors those of
/// RFC 6749, section 5.2. Only `logout` clears the cookie: a late answer to an
/// old tab must not delete the cookie of a new login.
///
/// # Readiness
///
/// Always ready. Nothing here limits how many requests run at once.
///
/// # Errors
///
/// None: every failure is an answer.
#[derive(Clone)]
pub struct TokenService {
    shared: Arc<Shared>,
}

struct Shared {
    issuer: Issuer,
    transport: Transport,
    verifier: TypedVerifier<NoClaims>,
    introspection: Option<Box<dyn introspect::Erased>>,
}

impl TokenService {
    pub(crate) fn new(issuer: Issuer, transport: Transport) -> Self {
        let verifier = issuer.verifier().typed();
        let shared = Shared { issuer, transport, verifier, introspection: None };
        Self { shared: Arc::new(shared) }
    }

    /// Also answers `introspect` (RFC 7662), to those whom `auth` lets.
    #[must_use]
    pub fn introspection(self, auth: impl ClientAuth) -> Self {
        let Shared { issuer, transport, verifier, .. } = &*self.shared;
        let shared = Shared {
            issuer: issuer.clone(),
            transport: transport.clone(),
            verifier: verifier.clone(),
            introspection: Some(Box::new(auth)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The answer that hands a pair to the client, for a login handler: the
    /// access token in the body, the refresh token where the transport has it.
    pub fn respond(&self, pair: &TokenPair) -> Response<Full<Bytes>> {
        self.shared.respond(pair)
    }
}

impl<B> Service<Request<B>> for TokenService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = TokenFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> TokenFuture {
        let shared = Arc::clone(&self.shared);
        TokenFuture(Box::pin(async move {
            let (parts, body) = request.into_parts();
            shared.answer(parts, body).await
        }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Refresh,
    Logout,
    Revoke,
    Introspect,
    Jwks,
}

impl Shared {
    async fn answer<B>(&self, parts: Parts, body: B) -> Answer
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let route = match parts.uri.path().rsplit('/').next() {
            Some("refresh") => Route::Refresh,
            Some("logout") => Route::Logout,
            Some("revoke") => Route::Revoke,
            Some("introspect") if self.introspection.is_some() => Route::Introspect,
            Some("jwks.json") => Route::Jwks,
            _ => return empty(StatusCode::NOT_FOUND),
        };
        if route == Route::Jwks {
            return self.jwks(&parts);
        }
        // A link, an image or a redirect makes a GET: nothing changes by one.
        if parts.method != Method::POST && !cfg!(broken = "get_refresh") {
            return not_allowed("POST");
        }
        if has_token_in_query(&parts) {
            return error(StatusCode::BAD_REQUEST, "invalid_request");
        }
        let form = match form(&parts.headers, body).await {
            Ok(form) => form,
            Err(answer) => return answer,
        };
        match route {
            Route::Refresh => self.refresh(&parts, &form).await,
            Route::Logout => self.logout(&parts, &form).await,
            Route::Revoke => self.revoke(&form).await,
            Route::Introspect => self.introspect(&parts.headers, &form).await,
            Route::Jwks => empty(StatusCode::NOT_FOUND),
        }
    }

    fn jwks(&self, parts: &Parts) -> Answer {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return not_allowed("GET, HEAD");
        }
        let mut answer = json_response(StatusCode::OK, self.issuer.keys().to_jwks());
        let headers = answer.headers_mut();
        headers.remove(http::header::PRAGMA);
        let age = format!("public, max-age={}", self.issuer.jwks_max_age().as_secs());
        if let Ok(age) = HeaderValue::from_str(&age) {
            headers.insert(CACHE_CONTROL, age);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        answer
    }

    async fn refresh(&self, parts: &Parts, form: &Form) -> Answer {
        let grant_type = form.get("grant_type");
        if grant_type.is_some_and(|grant| grant != "refresh_token") {
            return error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let token = match self.presented(parts, form) {
            Ok(Some(token)) => token,
            Ok(None) => return error(StatusCode::BAD_REQUEST, "invalid_request"),
            Err(answer) => return answer,
        };
        let mut keys = parts.headers.get_all(RETRY_KEY).iter();
        let retry_key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(key), None) => match key.to_str() {
                // The draft of the header has a quoted string.
                Ok(key) => Some(key.trim_matches('"')),
                Err(_) => return error(StatusCode::BAD_REQUEST, "invalid_request"),
            },
            (Some(_), Some(_)) => return error(StatusCode::BAD_REQUEST, "invalid_request"),
        };
        let mut request = RefreshRequest::new(token);
        if let Some(key) = retry_key {
            request = request.retry_key(key);
        }
        if let Some(scope) = form.get("scope") {
            request = request.scope(scope);
        }
        if let Some(client) = form.get("client_id") {
            request = request.client(client);
        }
        match self.issuer.refresh(request).await {
            Ok(pair) => self.respond(&pair),
            // No cookie is touched: by now there may be another one.
            Err(error) => failure(&error, self.issuer.retry_after_secs()),
        }
    }

    async fn logout(&self, parts: &Parts, form: &Form) -> Answer {
        let token = match self.presented(parts, form) {
            Ok(token) => token,
            Err(answer) => return answer,
        };
        if let Some(token) = token {
            match self.issuer.logout_token(token).await {
                Ok(_) | Err(Error::Malformed | Error::UnknownServerKey) => {}
                Err(error) => return failure(&error, self.issuer.retry_after_secs()),
            }
        }
        let mut answer = empty(StatusCode::NO_CONTENT);
        if let Some(cookie) = self.transport.set_cookie("", 0) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        answer
    }

    /// RFC 7009. Whoever has a token may end it; an unknown one is no error.
    async fn revoke(&self, form: &Form) -> Answer {
        let Some(token) = form.get("token").filter(|token| !token.is_empty()) else {
            return error(StatusCode::BAD_REQUEST, "invalid_request");
        };
        let revoked = match self.issuer.logout_token(token).await {
            Err(Error::Malformed | Error::UnknownServerKey) => {
                match self.verifier.verify(token) {
                    Ok(verified) => self.issuer.revoke_token(&verified).await,
                    Err(refusal) if refusal.is_unavailable() => {
                        return failure(
                            &Error::store("the revocation feed is too old"),
                            self.issuer.retry_after_secs(),
                        );
                    }
                    Err(_) => Ok(()),
                }
            }
            other => other.map(drop),
        };
        match revoked {
            Ok(()) => empty(StatusCode::OK),
            Err(error) => failure(&error, self.issuer.retry_after_secs()),
        }
    }

    async fn introspect(&self, headers: &HeaderMap, form: &Form) -> Answer {
        let allowed = match &self.introspection {
            Some(auth) => auth.is_allowed(headers).await,
            None => false,
        };
        if !allowed {
            let mut answer = error(StatusCode::UNAUTHORIZED, "invalid_client");
            let basic = HeaderValue::from_static("Basic realm=\"introspection\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, basic);
            return answer;
        }
        let Some(token) = form.get("token") else {
            return error(StatusCode::BAD_REQUEST, "invalid_request");
        };
        match self.verifier.verify(token) {
            Ok(verified) => json_response(StatusCode::OK, introspect::body(Some(&*verified))),
            Err(refusal) if refusal.is_unavailable() => failure(
                &Error::store("the revocation feed is too old"),
                self.issuer.retry_after_secs(),
            ),
            Err(_) => json_response(StatusCode::OK, introspect::body::<NoClaims>(None)),
        }
    }

    /// The refresh token, from where the transport has it and from nowhere else.
    #[allow(clippy::result_large_err, reason = "an error is the answer")]
    fn presented<'a>(
        &self,
        parts: &'a Parts,
        form: &'a Form,
    ) -> Result<Option<&'a str>, Answer> {
        let bad = || error(StatusCode::BAD_REQUEST, "invalid_request");
        let body = form.get("refresh_token");
        let Some(name) = self.transport.cookie() else {
            // A browser that sends our cookie here is no app.
            let cookies = COOKIES.iter().map(|name| credentials::cookie(&parts.headers, name));
            let none = cookies.into_iter().all(|cookie| cookie == Ok(None));
            return if none { Ok(body) } else { Err(bad()) };
        };
        if !self.transport.may_use_cookie(parts) {
            return Err(error(StatusCode::FORBIDDEN, "access_denied"));
        }
        let cookie = credentials::cookie(&parts.headers, name).map_err(|()| bad())?;
        if body.is_some() {
            return Err(bad());
        }
        Ok(cookie)
    }

    fn respond(&self, pair: &TokenPair) -> Answer {
        let mut body = json!({
            "access_token": pair.access_token().expose(),
            "token_type": "Bearer",
            "expires_in": pair.expires_in().as_secs(),
            "scope": pair.scope(),
        });
        let refresh = pair.refresh_token().expose();
        let max_age = pair.session_expires_in().as_secs();
        let cookie = self.transport.set_cookie(refresh, max_age);
        if cookie.is_none() {
            body["refresh_token"] = refresh.into();
        }
        let mut answer = json_response(StatusCode::OK, body.to_string());
        if let Some(cookie) = cookie {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        answer
    }
}

/// The body as a form; an empty one needs no type.
async fn form<B>(headers: &HeaderMap, body: B) -> Result<Form, Answer>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let bad = || error(StatusCode::BAD_REQUEST, "invalid_request");
    let bytes = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(cause) if cause.is::<LengthLimitError>() => {
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"));
        }
        Err(_) => return Err(bad()),
    };
    if bytes.is_empty() {
        return Ok(Form::default());
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(bad());
    }
    Form::parse(&bytes).ok_or_else(bad)
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService")
            .field("transport", &self.shared.transport)
            .finish_non_exhaustive()
    }
}
