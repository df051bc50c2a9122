//! What is asked for: the mix of a shop's day.

use serde::Serialize;
use serde_json::json;

use super::zipf::Popularity;
use crate::rng::Rng;

/// The user who may change products.
const ADMIN: u32 = 1;

/// The kinds of requests, with their shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// 90 %: `GET /products/{id}`
    Product,
    /// 7 %: `GET /users/{id}`
    Profile,
    /// 2 %: `POST /users/{id}/orders`
    Order,
    /// 1 %: `PUT /products/{id}`
    Update,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Product, Self::Profile, Self::Order, Self::Update];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Profile => "profile",
            Self::Order => "order",
            Self::Update => "update",
        }
    }

    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Product | Self::Profile)
    }

    fn draw(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..90 => Self::Product,
            90..97 => Self::Profile,
            97..99 => Self::Order,
            _ => Self::Update,
        }
    }
}

/// A request, as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    /// The user who may, of a shop with a login; for the rest anybody.
    pub(crate) by: Option<u32>,
}

impl Planned {
    /// `GET path`, outside the mix.
    pub(crate) fn get(path: &str) -> Self {
        get(Kind::Product, path.to_owned())
    }
}

/// Every request of a run.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    seed: u64,
    products: Popularity,
    users: Popularity,
}

impl Mix {
    pub(crate) fn new(seed: u64, products: Popularity, users: Popularity) -> Self {
        Self { seed, products, users }
    }

    /// Request `n` of the run: the same for the same seed, whichever connection sends it.
    pub(crate) fn request(&self, n: u64) -> Planned {
        let mut rng = Rng::stream(self.seed, n);
        let kind = Kind::draw(&mut rng);
        let product = self.products.draw(&mut rng);
        let user = self.users.draw(&mut rng);
        let by = match kind {
            Kind::Product => None,
            Kind::Profile | Kind::Order => Some(user),
            Kind::Update => Some(ADMIN),
        };
        let planned = match kind {
            Kind::Product => get(kind, format!("/products/{product}")),
            Kind::Profile => get(kind, format!("/users/{user}")),
            Kind::Order => {
                let body = json!({ "product_id": product, "quantity": 1 + rng.below(3) });
                send(kind, "POST", format!("/users/{user}/orders"), &body)
            }
            // A change of price comes with a delivery, so that popular products never sell out.
            Kind::Update => {
                let body = json!({
                    "name": format!("Revised product No. {product}"),
                    "description": format!("As of request {n} of a load run."),
                    "price_cents": 199 + rng.below(20_000),
                    "stock": 10_000,
                });
                send(kind, "PUT", format!("/products/{product}"), &body)
            }
        };
        Planned { by, ..planned }
    }
}

pub(super) fn get(kind: Kind, path: String) -> Planned {
    Planned { kind, method: "GET", path, body: None, by: None }
}

pub(super) fn send(
    kind: Kind,
    method: &'static str,
    path: String,
    body: &serde_json::Value,
) -> Planned {
    Planned { kind, method, path, body: Some(body.to_string()), by: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(seed: u64) -> Mix {
        Mix::new(seed, Popularity::new(1_000, 1.1), Popularity::new(100, 1.1))
    }

    #[test]
    fn the_shares_are_those_it_states() {
        let mix = mix(7);
        let mut seen = [0u32; 4];
        for n in 0..100_000 {
            seen[mix.request(n).kind as usize] += 1;
        }
        // Five standard deviations of a binomial with these shares.
        for (seen, share) in seen.into_iter().zip([0.90_f64, 0.07, 0.02, 0.01]) {
            let (mean, off) = (1e5 * share, 5.0 * (1e5 * share * (1.0 - share)).sqrt());
            assert!((f64::from(seen) - mean).abs() < off, "{seen} of {mean} ± {off}");
        }
    }

    #[test]
    fn the_seed_decides_every_request() {
        let run = |seed| (0..500).map(|n| mix(seed).request(n)).collect::<Vec<_>>();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
