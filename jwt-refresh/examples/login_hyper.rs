//! Login, refresh and logout on bare hyper, tokens in the bodies, as for an app.
//!
//! `cargo run -p jwt-refresh --example login_hyper`

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jwt_refresh::{
    Issuer, MemoryStore, NoClaims, RefreshKeys, SigningKey, SigningKeys, Subject, TokenService,
    Transport, Verified,
};
use tower::{ServiceBuilder, ServiceExt};

type Answer = Response<Full<Bytes>>;

fn status(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// Stands for one that checks a password.
async fn login(issuer: &Issuer, tokens: &TokenService, request: Request<Incoming>) -> Answer {
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    if body.is_ok_and(|body| body == "user=ada&password=correct+horse")
        && let Ok(pair) = issuer.login(Subject::new("ada").device("a phone"), NOTHING).await
    {
        return tokens.respond(&pair);
    }
    status(StatusCode::UNAUTHORIZED)
}

const NOTHING: Option<()> = None;

async fn hello(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let token = request.extensions().get::<Arc<Verified<NoClaims>>>();
    let user = token.map_or("nobody", |token| token.subject());
    Ok(Answer::new(Full::from(format!("hello, {user}"))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = Issuer::builder("https://id.example", "https://api.example")
        .keys(SigningKeys::new(SigningKey::generate()?)?)
        .refresh_keys(RefreshKeys::new(std::array::from_fn(|_| fastrand::u8(..)))?)
        .store(MemoryStore::new())
        .build()?;
    let tokens = issuer.token_service(Transport::body());
    let api =
        ServiceBuilder::new().layer(issuer.verifier().bearer::<NoClaims>()).service_fn(hello);
    let app = tower::service_fn(move |request: Request<Incoming>| {
        let (issuer, tokens, api) = (issuer.clone(), tokens.clone(), api.clone());
        async move {
            match request.uri().path() {
                "/login" => Ok::<_, Infallible>(login(&issuer, &tokens, request).await),
                path if path.starts_with("/auth/") => tokens.oneshot(request).await,
                _ => api.oneshot(request).await,
            }
        }
    });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = serving.await {
                    eprintln!("a connection has failed: {error}");
                }
            });
        }
    });

    let pair = ask(address, "/login", None, "user=ada&password=correct+horse").await?;
    let pair: serde_json::Value = serde_json::from_str(&pair.1)?;
    let access = pair["access_token"].as_str().ok_or("no access token")?;
    let (status, text) = ask(address, "/hello", Some(access), "").await?;
    println!("/hello: {status}, {text}");
    let form = format!(
        "grant_type=refresh_token&refresh_token={}",
        pair["refresh_token"].as_str().ok_or("no refresh token")?
    );
    let (status, _) = ask(address, "/auth/refresh", None, &form).await?;
    println!("/auth/refresh: {status}");
    assert_eq!(status, 200);
    let (status, _) = ask(address, "/auth/logout", None, &form).await?;
    println!("/auth/logout: {status}");
    let (status, _) = ask(address, "/hello", Some(access), "").await?;
    println!("/hello after it: {status}");
    assert_eq!(status, 401);
    Ok(())
}

async fn ask(
    address: std::net::SocketAddr,
    path: &str,
    access: Option<&str>,
    form: &str,
) -> Result<(u16, String), Box<dyn std::error::Error>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", "application/x-www-form-urlencoded");
    if let Some(access) = access {
        request = request.header("authorization", format!("Bearer {access}"));
    }
    let request = request.body(Full::<Bytes>::from(form.to_owned()))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.into())?))
}
