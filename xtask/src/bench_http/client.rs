//! Fills the caches, and looks at what they say.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::origin::end_of_head;

/// Connections that fill at the same time.
const AT_ONCE: usize = 8;

/// Asks for `/0` to `/{count - 1}` once each.
pub(super) async fn fill(address: SocketAddr, count: usize) -> Result<(), String> {
    let mut clients = JoinSet::new();
    for first in 0..AT_ONCE.min(count) {
        clients.spawn(async move {
            let mut client = Client::connect(address).await?;
            for n in (first..count).step_by(AT_ONCE) {
                client.get(&format!("/{n}")).await?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, read: Vec::new() })
    }

    async fn get(&mut self, path: &str) -> Result<(), String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answered = async {
            self.stream.write_all(request.as_bytes()).await?;
            let mut end = None;
            while end.is_none_or(|end| self.read.len() < end) {
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                end = end.or_else(|| end_of_answer(&self.read));
            }
            let answer = self.read.drain(..end.unwrap_or_default());
            Ok::<_, std::io::Error>(answer.as_slice().starts_with(b"HTTP/1.1 200 "))
        };
        match answered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("GET {path} was not answered with 200")),
            Err(error) => Err(format!("GET {path}: {error}")),
        }
    }
}

/// Where the first answer ends, as soon as its head is there.
fn end_of_answer(read: &[u8]) -> Option<usize> {
    let head = end_of_head(read)?;
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let (_, length) = text.split_once("\r\ncontent-length:")?;
    let length: usize = length.lines().next()?.trim().parse().ok()?;
    Some(head + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP";
        assert_eq!(end_of_answer(answer), Some(answer.len() - 4));
        assert_eq!(end_of_answer(&answer[..20]), None);
    }
}
