//! The origin: 1 KiB under every URL, and a count of who has asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Origin {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Origin {
    /// Serves from this runtime until that ends.
    pub(super) async fn start() -> Result<Self, String> {
        let failed = |error| format!("the origin cannot listen: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let asked = Arc::new(AtomicU64::new(0));
        let answer: Arc<[u8]> = answer().into();
        let count = Arc::clone(&asked);
        // It ends with the runtime, as its connections do.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&count)));
            }
        });
        Ok(Self { address, asked })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>, asked: Arc<AtomicU64>) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        while let Some(end) = end_of_head(&read) {
            read.drain(..end);
            asked.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Where the first head that is there ends. Nobody sends a content here.
pub(super) fn end_of_head(read: &[u8]) -> Option<usize> {
    read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// What a page of a shop has about it. Without a date, so that none is old when it comes.
fn answer() -> Vec<u8> {
    let content = "0123456789abcdef".repeat(64);
    format!(
        "HTTP/1.1 200 OK\r\n\
         content-type: text/html; charset=utf-8\r\n\
         content-length: {}\r\n\
         cache-control: public, max-age=86400\r\n\
         etag: \"5f2b-61c8e0\"\r\n\
         last-modified: Sun, 01 Nov 2026 08:49:37 GMT\r\n\
         content-language: en\r\n\
         x-content-type-options: nosniff\r\n\
         \r\n{content}",
        content.len()
    )
    .into_bytes()
}
