//! Pages of products, their images, and what these look like: for a shared HTTP cache before
//! the shop to keep.
//!
//! | what | how long a cache may show it | until then |
//! |---|---|---|
//! | a page | a minute, and half of one more while it asks anew | a change that passes the cache ends it: its answer names the group |
//! | an image | a day | as a page |
//! | the style sheet | a year: its URL is of these very bytes | another version has another URL |
//!
//! Where the shop does not answer, a cache may show pages and images for a day longer.
//! Browsers ask each time, and are mostly told that nothing has changed.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use sha2::{Digest, Sha256};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::Shop;
use crate::error::{Error, no_such_method};
use crate::input::PathId;
use crate::products::{Product, ProductId};

/// RFC 9213: for shared caches that are ours, in place of `Cache-Control`.
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// RFC 9875: what belongs together.
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// RFC 9875: what a change has made old.
const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

const PAGE: &str = "max-age=60, stale-while-revalidate=30, stale-if-error=86400";
const IMAGE: &str = "max-age=86400, stale-if-error=86400";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The pages, beside the sessions.
pub(crate) fn routes(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/products/{id}/page", get(page))
        .route("/products/{id}/image.svg", get(image))
        .route("/assets/{name}", get(asset))
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(|_| Error::internal().into_response()))
        .layer(kept_by_nobody())
        .with_state(shop)
}

/// Around all answers: those that do not say who may keep them are kept by nobody.
pub(crate) fn kept_by_nobody() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Tells caches before the shop that all they have of a product is old.
pub(crate) fn changed(id: ProductId) -> [(HeaderName, String); 1] {
    [(CACHE_GROUP_INVALIDATION, group(id))]
}

fn group(ProductId(id): ProductId) -> String {
    format!("\"product-{id}\"")
}

/// `GET /products/{id}/page`
async fn page(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<ProductId>,
    asked: HeaderMap,
) -> Result<Response, Error> {
    let product = latest(&shop, id).await?;
    let answer = Answer { kind: "text/html; charset=utf-8", shared: PAGE, of: id };
    Ok(answer.with(&asked, drawn_page(&product).into_string()))
}

/// `GET /products/{id}/image.svg`
async fn image(
    State(shop): State<Arc<Shop>>,
    PathId(id): PathId<ProductId>,
    asked: HeaderMap,
) -> Result<Response, Error> {
    let product = latest(&shop, id).await?;
    let answer = Answer { kind: "image/svg+xml", shared: IMAGE, of: id };
    Ok(answer.with(&asked, drawn_image(&product).into_string()))
}

/// A cache before the shop hears of a change at once. Copies that a process has of the product
/// may be older, and would be kept there after it.
async fn latest(shop: &Shop, id: ProductId) -> Result<Product, Error> {
    let product = match cfg!(broken = "page_of_a_copy") {
        false => shop.products.latest(id).await?,
        true => shop.products.get(id).await?.map(|product| Product::clone(&product)),
    };
    product.ok_or_else(|| Error::unknown("product", id.0, "the path"))
}

/// `GET /assets/{name}`
async fn asset(Path(name): Path<String>) -> Result<Response, Error> {
    if name != STYLE.name {
        return Err(Error::new(
            StatusCode::NOT_FOUND,
            "unknown_asset",
            "this version of the shop has no such file",
            "the path",
            "take the URL from a page of this version",
        ));
    }
    let fields = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, FOR_EVER)];
    Ok((fields, STYLE.text).into_response())
}

struct Style {
    name: String,
    text: &'static str,
}

static STYLE: LazyLock<Style> = LazyLock::new(|| {
    let text = include_str!("shop.css");
    Style { name: format!("shop-{}.css", digest(text)), text }
});

/// What tells these bytes from others.
fn digest(text: &str) -> String {
    Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is told of a page or an image.
struct Answer {
    kind: &'static str,
    shared: &'static str,
    of: ProductId,
}

impl Answer {
    /// In whole, or that it is what the client has.
    fn with(self, asked: &HeaderMap, text: String) -> Response {
        let tag = format!("\"{}\"", digest(&text));
        let fields = [
            (CONTENT_TYPE, self.kind.to_owned()),
            (CACHE_CONTROL, "no-cache".to_owned()),
            (CDN_CACHE_CONTROL, self.shared.to_owned()),
            (CACHE_GROUPS, group(self.of)),
            (ETAG, tag.clone()),
        ];
        let mut has = asked.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        // No tag of ours has a comma in it.
        let is_it = |other: &str| other.trim().trim_start_matches("W/") == tag;
        if has.any(|line| line.split(',').any(is_it)) {
            return (StatusCode::NOT_MODIFIED, fields).into_response();
        }
        (fields, text).into_response()
    }
}

fn drawn_page(product: &Product) -> Markup {
    let Product { id, name, description, price_cents, stock, .. } = product;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (name) }
                link rel="stylesheet" href={ "/assets/" (STYLE.name) };
            }
            body {
                img src={ "/products/" (id) "/image.svg" } alt="";
                h1 { (name) }
                p { (description) }
                p.price { data value=(price_cents) { (price_cents / 100) "." (format!("{:02}", price_cents % 100)) } }
                p { @if *stock > 0 { "In stock" } @else { "Sold out" } }
            }
        }
    }
}

/// Its initials, on a colour of its own.
fn drawn_image(product: &Product) -> Markup {
    let letters: String = product
        .name
        .split_whitespace()
        .filter_map(|word| word.chars().next())
        .take(2)
        .collect();
    let hue = product.id.wrapping_mul(47).rem_euclid(360);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" {
            rect width="100" height="100" fill={ "hsl(" (hue) " 40% 45%)" };
            text x="50" y="62" fill="white" font-size="36" text-anchor="middle" { (letters) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn product(name: &str) -> Product {
        serde_json::from_value(json!({
            "id": 7, "name": name, "description": "<script>", "price_cents": 1_005, "stock": 0,
            "updated_at": "2025-04-11T06:43:03Z",
        }))
        .unwrap()
    }

    #[test]
    fn what_is_drawn_is_what_it_is_called_and_no_markup() {
        let page = drawn_page(&product("\"><img src=x onerror=y>&")).into_string();
        assert!(page.contains("&quot;&gt;&lt;img src=x onerror=y&gt;&amp;"), "{page}");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(page.contains(">10.05<") && page.contains("Sold out"), "{page}");
        let image = drawn_image(&product("<b> &c d")).into_string();
        assert!(image.contains(">&lt;&amp;<"), "{image}");
    }

    #[test]
    fn who_has_it_is_told_so() {
        let ask = |tag: Option<&str>| {
            let mut asked = HeaderMap::new();
            if let Some(tag) = tag {
                asked.insert(IF_NONE_MATCH, tag.parse().unwrap());
            }
            let answer = Answer { kind: "text/html", shared: PAGE, of: ProductId(7) };
            answer.with(&asked, "hello".to_owned())
        };
        let whole = ask(None);
        let tag = whole.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(whole.headers()["cache-groups"], "\"product-7\"");
        for tag in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}")] {
            let answer = ask(Some(&tag));
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{tag}");
            assert_eq!(answer.headers()[ETAG], whole.headers()[ETAG]);
        }
        assert_eq!(ask(Some("\"another\"")).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_style_sheet_is_there_in_this_version_only() {
        let answer = asset(Path(STYLE.name.clone())).await.unwrap();
        assert_eq!(answer.headers()[CACHE_CONTROL], FOR_EVER);
        let other = asset(Path("shop-0123456789abcdef.css".to_owned())).await.unwrap_err();
        assert_eq!(other.status, StatusCode::NOT_FOUND);
        let nobody = asset(Path(String::new())).await;
        assert!(nobody.is_err());
    }
}
