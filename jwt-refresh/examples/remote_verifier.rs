//! A service that only verifies: the keys come from the issuer's key set, fetched
//! over HTTP, and revocations from the store that both share.
//!
//! `cargo run -p jwt-refresh --features remote-jwks --example remote_verifier`

use std::time::Duration;

use axum::Router;
use jwt_refresh::{
    HttpsFetch, Issuer, MemoryStore, NoClaims, Profile, RefreshKeys, RemoteJwks, SigningKey,
    SigningKeys, Subject, Transport, Verifier,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One process issues, and serves its keys. Two processes would share Redis or
    // PostgreSQL; here the store is in this one.
    let store = MemoryStore::new();
    let issuer = Issuer::builder("https://id.example", "https://api.example")
        .keys(SigningKeys::new(SigningKey::generate()?)?)
        .refresh_keys(RefreshKeys::new(std::array::from_fn(|_| fastrand::u8(..)))?)
        .store(store.clone())
        .build()?;
    let tokens = issuer.token_service(Transport::body());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr()?);
    let app = Router::new().nest_service("/.well-known", tokens);
    tokio::spawn(async move { axum::serve(listener, app).await });

    // The other one knows the URL, and nothing else.
    let keys = RemoteJwks::new(&url, HttpsFetch::new()?)?;
    let profile = Profile::own("https://id.example", "https://api.example", keys);
    let verifier = Verifier::builder(profile).follow(store).build()?;
    verifier.ready().await;
    let verifier = verifier.typed::<NoClaims>();

    let pair = issuer.login(Subject::new("u1"), None::<()>).await?;
    let token = verifier.verify_waiting(pair.access_token().expose()).await?;
    println!("{} by the key {}", token.subject(), token.kid());
    issuer.logout("u1", pair.session()).await?;
    tokio::time::timeout(Duration::from_secs(5), token.until_invalid()).await?;
    let refused = verifier.verify(pair.access_token().expose()).map(drop);
    println!("after the logout: {refused:?}");
    assert!(refused.is_err());
    Ok(())
}
