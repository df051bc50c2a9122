//! A client, the layer in a server, and an origin: bytes are written and read as they are on
//! both sides, and time stands still unless a test moves it.

mod middle;
mod script;
mod wire;

pub(crate) use self::middle::{Bed, request};
pub(crate) use self::script::{Script, Step, get, step};
pub(crate) use self::wire::{Answer, Reply, chunked, ok, raw, reply};

/// A test of its own for each script: what is in front of the arrow is its name.
macro_rules! cases {
    ($($name:ident => $script:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let script: crate::support::Script = $script;
            script.run().await;
        }
    )+};
}
pub(crate) use cases;
