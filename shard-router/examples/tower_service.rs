//! A tower service for each shard, chosen by the request's key. Needs no server.
//! `cargo run -p shard-router --example tower_service`

use std::convert::Infallible;

use shard_router::{KeyType, Router, ShardName, ShardService, SlotMap, Topology};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceExt, service_fn};

#[derive(Debug)]
struct Request {
    tenant: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topology = Topology::new(SlotMap::even(["a", "b", "c"])?, [KeyType::Text])?
        .shard("a", "host=db-a")?
        .shard("b", "host=db-b")?
        .shard("c", "host=db-c")?;
    // Nothing is connected to: only the placement is used here.
    let router = Router::builder(topology).build()?;
    let service = ShardService::new(
        router.clone(),
        |request: &Request| request.tenant.clone(),
        |shard: &ShardName| {
            let shard = shard.clone();
            // Each shard has a limit of its own, so that a busy one does not hold up others.
            ConcurrencyLimitLayer::new(2).layer(service_fn(move |request: Request| {
                let answer = format!("{} is served by {shard}", request.tenant);
                async move { Ok::<_, Infallible>(answer) }
            }))
        },
    );
    for tenant in ["acme", "globex", "initech", "umbrella"] {
        let request = Request { tenant: tenant.into() };
        let answer = service.clone().oneshot(request).await?;
        println!("{answer}");
        assert!(answer.ends_with(router.shard_of(tenant)?.as_str()));
    }
    Ok(())
}
