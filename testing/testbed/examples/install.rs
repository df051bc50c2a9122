//! Installs the servers that this machine lacks: `cargo run -p testbed --example install`.

use testbed::install;
use testbed::locate::Need;

fn main() -> Result<(), testbed::Error> {
    install::run(&[Need::Postgres, Need::Redis, Need::PgBouncer])
}
