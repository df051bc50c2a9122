use std::pin::Pin;

use http::HeaderMap;
use serde_json::json;

use crate::access::Verified;

/// Says which services may ask about tokens (RFC 7662, section 2.1).
pub trait ClientAuth: Send + Sync + 'static {
    /// Whether these headers are of a service that may. Compare secrets in
    /// constant time.
    fn is_allowed(&self, headers: &HeaderMap) -> impl Future<Output = bool> + Send;
}

pub(super) trait Erased: Send + Sync {
    fn is_allowed<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

impl<A: ClientAuth> Erased for A {
    fn is_allowed<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ClientAuth::is_allowed(self, headers))
    }
}

/// RFC 7662, section 2.2; what is not active is exactly `{"active":false}`.
pub(super) fn body<C>(verified: Option<&Verified<C>>) -> String {
    let Some(token) = verified else { return r#"{"active":false}"#.to_owned() };
    json!({
        "active": true,
        "token_type": "Bearer",
        "iss": token.issuer(),
        "sub": token.subject(),
        "client_id": token.client_id(),
        "scope": token.scope(),
        "jti": token.token_id(),
        "iat": token.issued_at(),
        "exp": token.expires_at(),
    })
    .to_string()
}
