use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Direction;
use super::pump::{Reset, pump};
use super::rules::{Mode, Rules, Shared};

/// Carries one connection to its end.
pub(super) async fn connection(
    mut client: TcpStream,
    target: SocketAddr,
    shared: &Shared,
    mut rules: watch::Receiver<Rules>,
) {
    if rules.borrow().mode == Mode::Blackhole {
        swallow(&mut client, &mut rules).await;
        return reset(client);
    }

    let connected = tokio::select! {
        connected = TcpStream::connect(target) => connected,
        () = cut(rules.clone()) => return reset(client),
    };
    let Ok(mut server) = connected else { return reset(client) };
    // A proxy must not add what it was not told to.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));

    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pump(from_client, to_server, Direction::ToServer, shared, rules.clone());
    let down = pump(from_server, to_client, Direction::ToClient, shared, rules.clone());
    let ended = tokio::select! {
        ended = async { tokio::try_join!(up, down) } => ended,
        () = cut(rules) => Err(Reset),
    };
    if ended.is_err() {
        reset(client);
        reset(server);
    }
}

/// Reads and forgets for as long as the blackhole lasts.
async fn swallow(client: &mut TcpStream, rules: &mut watch::Receiver<Rules>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut open = true;
    loop {
        tokio::select! {
            // The end of the handle ends this task as well.
            _ = rules.wait_for(|rules| rules.mode != Mode::Blackhole) => return,
            read = client.read(&mut buffer), if open => open = matches!(read, Ok(1..)),
        }
    }
}

async fn cut(mut rules: watch::Receiver<Rules>) {
    // The end of the handle counts as a cut.
    let _ = rules.wait_for(|rules| rules.mode == Mode::Cut).await;
}

/// Closes with a reset: the peer sees an error, not an end.
fn reset(stream: TcpStream) {
    // A socket that refuses this is closed already.
    let _ = stream.set_zero_linger();
}
