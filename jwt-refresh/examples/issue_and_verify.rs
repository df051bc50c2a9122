//! A session from its login to its end, and what becomes of a stolen token.
//!
//! `cargo run -p jwt-refresh --example issue_and_verify`

use jwt_refresh::{
    Error, Issuer, MemoryStore, NoClaims, RefreshKeys, RefreshRequest, SigningKey, SigningKeys,
    Subject,
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In a service both keys come from where secrets are kept.
    let signing = SigningKeys::new(SigningKey::generate()?)?;
    let server_key: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    let issuer = Issuer::builder("https://id.example", "https://api.example")
        .keys(signing)
        .refresh_keys(RefreshKeys::new(server_key)?)
        .store(MemoryStore::new())
        .build()?;
    let verifier = issuer.verifier().typed::<NoClaims>();
    verifier.verifier().ready().await;

    let subject = Subject::new("u1").device("Firefox, Linux").scope("orders:read");
    let pair = issuer.login(subject, json!({"roles": ["clerk"]})).await?;
    let token = verifier.verify(pair.access_token().expose())?;
    println!("{} may {} for {:?}", token.subject(), token.scope(), pair.expires_in());

    // A lost response: the client asks again, and gets the same tokens.
    let request = RefreshRequest::new(pair.refresh_token().expose());
    let lost = issuer.refresh(request).await?;
    let again = issuer.refresh(request).await?;
    assert_eq!(lost.refresh_token().expose(), again.refresh_token().expose());
    println!("a retry got the identical successor");

    for session in issuer.sessions("u1").await? {
        println!("session {} on {}", session.id, session.device);
    }
    issuer.logout_all("u1").await?;
    let refused = verifier.verify(again.access_token().expose()).map(drop);
    println!("after logout_all an access token is {refused:?}");
    assert!(refused.is_err());
    let refused = issuer.refresh(RefreshRequest::new(again.refresh_token().expose())).await;
    assert!(matches!(refused, Err(Error::Revoked)));
    Ok(())
}
