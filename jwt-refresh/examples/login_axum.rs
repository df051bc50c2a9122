//! Login, refresh and logout on axum, by cookie, and a protected API.
//!
//! `cargo run -p jwt-refresh --features axum --example login_axum` plays it through
//! by itself; `-- --stay` leaves it open.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jwt_refresh::axum::Access;
use jwt_refresh::http::DevelopmentOnly;
use jwt_refresh::{
    Issuer, MemoryStore, RefreshKeys, RequireLayer, SigningKey, SigningKeys, Subject,
    TokenService, Transport,
};
use serde::{Deserialize, Serialize};
use tower::ServiceBuilder;

#[derive(Clone)]
struct Shop {
    issuer: Issuer,
    tokens: TokenService,
}

/// What our access tokens say beside the registered claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mine {
    name: String,
}

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
}

/// Stands for a look-up of a hash made by Argon2.
fn is_right(credentials: &Credentials) -> bool {
    credentials.user == "ada" && credentials.password == "correct horse"
}

async fn login(State(shop): State<Shop>, Json(credentials): Json<Credentials>) -> Response {
    if !is_right(&credentials) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let subject = Subject::new(&credentials.user).device("a browser").scope("orders:read");
    match shop.issuer.login(subject, Mine { name: "Ada".into() }).await {
        Ok(pair) => shop.tokens.respond(&pair).into_response(),
        Err(error) if error.may_retry() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn orders(Access(token): Access<Mine>) -> String {
    format!("the orders of {}", token.claims().name)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = Issuer::builder("http://127.0.0.1", "http://127.0.0.1")
        .keys(SigningKeys::new(SigningKey::generate()?)?)
        .refresh_keys(RefreshKeys::new(std::array::from_fn(|_| fastrand::u8(..)))?)
        .store(MemoryStore::new())
        .build()?;
    // Without https; a service has `Transport::host_cookie()`.
    let plain = DevelopmentOnly::the_refresh_cookie_travels_in_plain_http_on_loopback();
    let tokens = issuer.token_service(Transport::development_cookie(plain));
    let protected = ServiceBuilder::new()
        .layer(issuer.verifier().bearer::<Mine>())
        .layer(RequireLayer::<Mine>::scope("orders:read")?);
    let app = Router::new()
        .route("/orders", get(orders))
        .layer(protected)
        .route("/login", post(login))
        .nest_service("/auth", tokens.clone())
        .with_state(Shop { issuer, tokens });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    println!("listening on http://{address}");
    if std::env::args().any(|word| word == "--stay") {
        server.await??;
        return Ok(());
    }
    play(&address.to_string()).await
}

/// What a browser would do.
async fn play(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let json = "content-type: application/json\r\n";
    let body = r#"{"user":"ada","password":"correct horse"}"#;
    let (status, cookie, answer) = ask(address, "POST /login", json, body).await?;
    assert_eq!(status, 200);
    let token = |answer: &str| -> Result<String, Box<dyn std::error::Error>> {
        let answer: serde_json::Value = serde_json::from_str(answer)?;
        Ok(answer["access_token"].as_str().ok_or("no access token")?.to_owned())
    };
    let access = format!("authorization: Bearer {}\r\n", token(&answer)?);
    let (status, _, answer) = ask(address, "GET /orders", &access, "").await?;
    println!("GET /orders: {status}, {answer}");
    assert_eq!(status, 200);

    let mine = format!("cookie: {cookie}\r\nsec-fetch-site: same-origin\r\n");
    let (status, next, answer) = ask(address, "POST /auth/refresh", &mine, "").await?;
    println!("POST /auth/refresh: {status}");
    assert!(status == 200 && next != cookie && !token(&answer)?.is_empty());
    let theirs = format!("cookie: {next}\r\nsec-fetch-site: cross-site\r\n");
    let (status, ..) = ask(address, "POST /auth/refresh", &theirs, "").await?;
    println!("the same from another site: {status}");
    assert_eq!(status, 403);

    let mine = format!("cookie: {next}\r\nsec-fetch-site: same-origin\r\n");
    let (status, ..) = ask(address, "POST /auth/logout", &mine, "").await?;
    println!("POST /auth/logout: {status}");
    let (status, ..) = ask(address, "GET /orders", &access, "").await?;
    println!("GET /orders after it: {status}");
    assert_eq!(status, 401);
    Ok(())
}

/// The status, the cookie and the body.
async fn ask(
    address: &str,
    line: &str,
    headers: &str,
    body: &str,
) -> Result<(u16, String, String), Box<dyn std::error::Error>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
    Ok((status, cookie.to_owned(), body.to_owned()))
}
