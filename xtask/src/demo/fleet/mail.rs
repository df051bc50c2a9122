//! A mail service that takes its time, and counts what it is sent.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// For each message: with what a worker does at once, twenty a second for each.
const TAKES: Duration = Duration::from_millis(200);

/// How often each key was taken.
type Taken = Arc<Mutex<BTreeMap<i64, u32>>>;

pub(super) struct Mail {
    pub(super) url: String,
    taken: Taken,
    serving: JoinHandle<()>,
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Mail {
    pub(super) async fn open() -> Result<Self, String> {
        let open = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}/send", listener.local_addr()?);
            let taken = Taken::default();
            let serving = tokio::spawn(serve(listener, Arc::clone(&taken)));
            Ok::<_, io::Error>(Self { url, taken, serving })
        };
        open.await.map_err(|error| format!("the mail service: {error}"))
    }

    /// How often each order was confirmed to its user.
    pub(super) fn taken(&self) -> BTreeMap<i64, u32> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, taken: Taken) {
    // They end with this one.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let taken = Arc::clone(&taken);
        // Who sends may be gone; then it is sent again.
        connections.spawn(async move { answer(stream, &taken).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

/// One request after the other, as `storefront confirmations` sends them: HTTP/1.1, with a
/// length.
async fn answer(stream: TcpStream, taken: &Taken) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut key, mut length, mut line) = (None, 0, String::new());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => key = value.trim().parse().ok(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        sleep(TAKES).await;
        let status = match key {
            Some(key) => {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                *taken.entry(key).or_default() += 1;
                "200 OK"
            }
            None => "400 Bad Request",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::runtime;

    #[test]
    fn what_comes_twice_is_counted_twice() {
        let sent = async {
            let mail = Mail::open().await.unwrap();
            let address = mail.url.trim_start_matches("http://").trim_end_matches("/send");
            let mut stream = TcpStream::connect(address).await.unwrap();
            for head in ["idempotency-key: 7", "Idempotency-Key: 7", "x: 1"] {
                let request =
                    format!("POST /send HTTP/1.1\r\n{head}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(request.as_bytes()).await.unwrap();
            }
            let mut answers = BufReader::new(stream).lines();
            let mut statuses = Vec::new();
            while statuses.len() < 3 {
                let line = answers.next_line().await.unwrap().unwrap();
                statuses.extend(line.strip_prefix("HTTP/1.1 ").map(ToOwned::to_owned));
            }
            (statuses, mail.taken())
        };
        let (statuses, taken) = runtime().unwrap().block_on(sent);
        assert_eq!(statuses, ["200 OK", "200 OK", "400 Bad Request"]);
        assert_eq!(taken, BTreeMap::from([(7, 2)]));
    }
}
