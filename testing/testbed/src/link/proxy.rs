use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::connection;
use super::rules::{Mode, Rules, Shared};

/// A change of the rules that is answered once it holds.
pub(super) struct Change {
    pub(super) edit: Box<dyn FnOnce(&mut Rules) + Send>,
    pub(super) done: mpsc::SyncSender<io::Result<()>>,
}

/// Accepts connections and owns their tasks.
pub(super) struct Proxy {
    shared: Arc<Shared>,
    /// Holds the port while nobody listens on it, so that connecting is refused.
    held: TcpSocket,
    listener: Option<TcpListener>,
    rules: watch::Sender<Rules>,
    connections: JoinSet<()>,
}

impl Proxy {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let held = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = Some(listen(held.local_addr()?)?);
        let rules = watch::Sender::new(Rules::default());
        Ok(Self { shared, held, listener, rules, connections: JoinSet::new() })
    }

    pub(super) fn addr(&self) -> io::Result<SocketAddr> {
        self.held.local_addr()
    }

    /// Runs until the handle is gone; then every connection closes.
    pub(super) async fn run(mut self, mut changes: UnboundedReceiver<Change>) {
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(Change { edit, done }) => {
                        self.rules.send_modify(edit);
                        // A caller who waits no more needs no answer.
                        let _ = done.send(self.obey().await);
                    }
                    None => return,
                },
                Some(_) = self.connections.join_next() => {}
                accepted = accept(self.listener.as_ref()) => match accepted {
                    Ok((client, _)) => self.carry(client),
                    // One connection's that is gone already, or no file is free just now.
                    Err(_) => tokio::task::yield_now().await,
                },
            }
        }
    }

    /// Brings listener and connections in line with the rules.
    async fn obey(&mut self) -> io::Result<()> {
        if self.rules.borrow().mode == Mode::Cut {
            self.listener = None;
            // Each resets itself; the change holds when all have.
            while self.connections.join_next().await.is_some() {}
        } else if self.listener.is_none() {
            self.listener = Some(listen(self.addr()?)?);
        }
        Ok(())
    }

    fn carry(&mut self, client: TcpStream) {
        self.shared.accepted.fetch_add(1, Ordering::SeqCst);
        self.shared.open.fetch_add(1, Ordering::SeqCst);
        let (target, shared) = (self.shared.target(), Arc::clone(&self.shared));
        let rules = self.rules.subscribe();
        self.connections.spawn(async move {
            connection(client, target, &shared, rules).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => pending().await,
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    bind(addr)?.listen(1024)
}

/// With both options a socket that listens and one that holds the port can share it.
fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
