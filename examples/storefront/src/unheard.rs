//! What a user has changed and the shared cache has not heard of.
//!
//! While Redis is away, a change is saved all the same, and its process tells Redis when that is
//! back. Another process may be back there sooner, and show what was cached before. The user who
//! has made the change is told it is saved, so that user is sent past the caches for a while: by
//! a cookie, which says so to whichever process comes next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::task_local;

const NAME: &str = "storefront-unheard";

/// For how many seconds: much longer than a process takes to notice that Redis is back.
const SECONDS: u32 = 60;

task_local! {
    static REQUEST: Unheard;
}

/// Of one request: whether it is to be answered past the caches, and whether a change of its own
/// was not heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unheard {
    before: bool,
    now: Arc<AtomicBool>,
}

impl Unheard {
    /// That of the request which this task answers.
    pub(crate) fn current() -> Option<Self> {
        REQUEST.try_with(Clone::clone).ok()
    }

    /// Runs a part of the request in another task.
    pub(crate) async fn enter<T>(self, part: impl Future<Output = T>) -> T {
        REQUEST.scope(self, part).await
    }
}

/// Whether caches may show something older than what this user has written.
pub(crate) fn is_past_the_caches() -> bool {
    !cfg!(broken = "unheard_forgotten")
        && REQUEST.try_with(|unheard| unheard.before).unwrap_or(false)
}

/// Redis has not heard of a change that this request has made.
pub(crate) fn tell() {
    // Without a request there is nobody to be sent past the caches.
    let _ = REQUEST.try_with(|unheard| unheard.now.store(true, Ordering::Relaxed));
}

/// How the cookie is set: over HTTPS only, or in the open, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InTheOpen(pub(crate) bool);

/// Around all that reads or changes what is cached.
pub(crate) async fn followed(
    State(InTheOpen(in_the_open)): State<InTheOpen>,
    request: Request,
    next: Next,
) -> Response {
    let unheard = Unheard { before: is_said(request.headers()), ..Unheard::default() };
    let now = Arc::clone(&unheard.now);
    let mut answer = unheard.enter(next.run(request)).await;
    if now.load(Ordering::Relaxed) {
        let secure = if in_the_open { "" } else { "; Secure" };
        let cookie =
            format!("{NAME}=1; Max-Age={SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}");
        let cookie = HeaderValue::from_str(&cookie).expect("it is plain");
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

fn is_said(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';'));
    pairs.any(|pair| pair.trim().strip_prefix(NAME).is_some_and(|rest| rest.starts_with('=')))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::write::to_its_end;

    async fn ask(cookie: Option<&str>, path: &str) -> (String, Option<String>) {
        let changes = || async {
            to_its_end(async {
                tell();
                Ok(())
            })
            .await
            .unwrap();
        };
        let reads = || async { is_past_the_caches().to_string() };
        let shop = Router::new()
            .route("/changes", get(changes))
            .route("/reads", get(reads))
            .layer(from_fn_with_state(InTheOpen(false), followed));
        let mut request = Request::builder().uri(path);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = shop.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let set = answer.headers().get(SET_COOKIE).map(|set| set.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), set)
    }

    #[tokio::test]
    async fn who_has_made_a_change_that_was_not_heard_of_is_sent_past_the_caches() {
        let (_, set) = ask(None, "/changes").await;
        let set = set.expect("a cookie");
        assert!(set.contains("Max-Age=60") && set.contains("Secure"), "{set}");
        let pair = set.split(';').next().unwrap();
        assert_eq!(ask(Some(&format!("a=1; {pair}")), "/reads").await.0, "true");
        assert_eq!(ask(Some("a=1"), "/reads").await, ("false".to_owned(), None));
        assert_eq!(ask(Some("storefront-unheard2=1"), "/reads").await.0, "false");
        assert_eq!(ask(None, "/reads").await.0, "false");
    }
}
