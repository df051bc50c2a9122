//! The least that is a load balancer: connections go to instances that say that they are
//! ready, and nothing is tried twice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How often it asks.
const EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Balancer {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    instances: Vec<(SocketAddr, bool)>,
    turn: usize,
}

impl Balancer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(ask(Arc::clone(&state)));
        tasks.spawn(serve(listener, Arc::clone(&state)));
        Self { addr, state, _tasks: tasks }
    }

    pub(crate) fn add(&self, instance: SocketAddr) {
        self.state.lock().unwrap().instances.push((instance, false));
    }

    pub(crate) fn remove(&self, instance: SocketAddr) {
        self.state.lock().unwrap().instances.retain(|(addr, _)| *addr != instance);
    }

    pub(crate) fn is_ready(&self, instance: SocketAddr) -> bool {
        self.state.lock().unwrap().instances.contains(&(instance, true))
    }
}

async fn ask(state: Arc<Mutex<State>>) {
    loop {
        let instances = state.lock().unwrap().instances.clone();
        for (addr, before) in instances {
            let asked = tokio::time::timeout(EVERY * 4, readiness(addr)).await;
            let ready = match asked {
                Ok(Ok(ready)) => ready,
                // As load balancers do: one answer that is missing is not believed.
                _ => before,
            };
            let mut state = state.lock().unwrap();
            if let Some(entry) = state.instances.iter_mut().find(|entry| entry.0 == addr) {
                entry.1 = ready;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn readiness(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let to = {
            let mut state = state.lock().unwrap();
            state.turn += 1;
            let ready: Vec<_> = state.instances.iter().filter(|(_, ready)| *ready).collect();
            ready.get(state.turn % ready.len().max(1)).map(|(addr, _)| *addr)
        };
        connections.spawn(async move {
            let Some(to) = to else { return };
            if let Ok(mut instance) = TcpStream::connect(to).await {
                // Whoever ends it, the other hears of it.
                let _ = copy_bidirectional(&mut client, &mut instance).await;
            }
        });
    }
}
