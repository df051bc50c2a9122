//! What is refused when it is built.

use std::time::Duration;

use jwt_refresh::{Issuer, IssuerBuilder, RefreshKeys, SigningKey, SigningKeys};

use crate::support::{self, World};

#[tokio::test]
async fn insecure_settings_are_refused() {
    let world = World::new().await;
    type Change = fn(IssuerBuilder) -> IssuerBuilder;
    let refused = |change: Change| {
        let builder = Issuer::builder(support::ISSUER, support::AUDIENCE)
            .keys(SigningKeys::new(SigningKey::generate().unwrap()).unwrap())
            .refresh_keys(RefreshKeys::new(support::key(1)).unwrap())
            .store(world.store.clone());
        change(builder).build().map(drop).unwrap_err().setting()
    };
    for (setting, change) in [
        ("leeway", (|b| b.leeway(Duration::from_secs(61))) as Change),
        ("access_ttl", |b| b.access_ttl(Duration::from_secs(3_601))),
        ("access_ttl", |b| b.access_ttl(Duration::ZERO)),
        ("session_ttl", |b| b.session_ttl(Duration::MAX)),
        ("session_ttl", |b| b.session_ttl(Duration::from_secs(1))),
        ("idle_ttl", |b| b.idle_ttl(Duration::from_secs(8 * 86_400))),
        ("grace", |b| b.grace(Duration::from_secs(61))),
        ("grace", |b| b.grace(Duration::ZERO)),
        ("stale_after", |b| b.stale_after(Duration::from_secs(61))),
        ("stale_after", |b| b.stale_after(Duration::ZERO)),
        ("jwks_max_age", |b| b.jwks_max_age(Duration::ZERO)),
        ("claims_deadline", |b| b.claims_deadline(Duration::ZERO)),
    ] {
        assert_eq!(refused(change), setting);
    }
    assert_eq!(Issuer::builder("", "x").build().map(drop).unwrap_err().setting(), "builder");
    assert_eq!(Issuer::builder("x", "y").build().map(drop).unwrap_err().setting(), "keys");
}
