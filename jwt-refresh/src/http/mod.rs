//! The layers and the service: `tower` over `http`, with no framework.

mod answer;
mod bearer;
mod credentials;
mod form;
pub mod future;
mod introspect;
mod require;
mod service;
mod transport;

pub use self::bearer::{Bearer, BearerLayer};
pub use self::introspect::ClientAuth;
pub use self::require::{Require, RequireLayer};
pub use self::service::TokenService;
pub use self::transport::{DevelopmentOnly, Transport};
