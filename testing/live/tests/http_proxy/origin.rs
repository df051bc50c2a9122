//! An origin that says what it is told to, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What it does with a request, whose head it was given.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Sends this.
    Says(Vec<u8>),
    /// Sends so many megabytes of zeros.
    Megabytes(usize),
    /// Goes on when it is told to.
    Waits(Arc<Notify>),
    /// Ends the connection.
    Hangs,
}

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Origin {
    /// It does `parts` for each request.
    pub(crate) async fn start(parts: Vec<Part>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            // Connections end with the origin.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, parts.clone(), Arc::clone(&kept)));
            }
        });
        Self { addr, heads, serving }
    }

    /// The heads of the requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// It is gone: connections are cut, and new ones refused.
    pub(crate) async fn dies(self) {
        self.serving.abort();
        while !self.serving.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

async fn answer(mut stream: TcpStream, parts: Vec<Part>, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap().to_ascii_lowercase();
        let content = content(&mut stream, &text).await;
        // Before anything is answered: who has an answer finds it here.
        heads.lock().unwrap().push(text);
        if content.is_err() {
            return;
        }
        for part in &parts {
            let sent = match part {
                Part::Says(bytes) => stream.write_all(bytes).await,
                Part::Megabytes(count) => megabytes(&mut stream, *count).await,
                Part::Waits(told) => {
                    told.notified().await;
                    Ok(())
                }
                Part::Hangs => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Reads what a request has behind its head.
async fn content(stream: &mut TcpStream, head: &str) -> std::io::Result<()> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if let Some(length) = field("content-length: ") {
        let mut content = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut content).await?;
    } else if field("transfer-encoding: ").is_some() {
        let mut content = Vec::new();
        while !content.ends_with(b"0\r\n\r\n") {
            content.push(stream.read_u8().await?);
        }
    }
    Ok(())
}

async fn megabytes(stream: &mut TcpStream, count: usize) -> std::io::Result<()> {
    let zeros = vec![0; 1 << 20];
    for _ in 0..count {
        stream.write_all(&zeros).await?;
    }
    Ok(())
}
