use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testbed::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What an origin writes, byte by byte, before it closes the connection.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Bytes(Vec<u8>, usize),
    /// It goes on when the test says so.
    Gate(Arc<Notify>),
}

/// A response with a length.
pub(crate) fn reply(status: u16, fields: &str, body: &str) -> Reply {
    let length = if matches!(status, 204 | 304) {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    raw(format!("HTTP/1.1 {status} X\r\n{}{length}\r\n{body}", lines(fields)))
}

pub(crate) fn ok(fields: &str, body: &str) -> Reply {
    reply(200, fields, body)
}

/// `A: b | C: d` as lines.
pub(crate) fn lines(fields: &str) -> String {
    let fields = fields.split(" | ").filter(|field| !field.is_empty());
    fields.map(|field| format!("{field}\r\n")).collect()
}

pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply { parts: vec![Part::Bytes(bytes.into(), 1)] }
}

pub(crate) fn chunked(fields: &str, chunks: &[&str]) -> Reply {
    let head = format!("HTTP/1.1 200 X\r\n{}Transfer-Encoding: chunked\r\n\r\n", lines(fields));
    let chunks = chunks.iter().chain(&[""]);
    raw(chunks.fold(head, |all, chunk| format!("{all}{:x}\r\n{chunk}\r\n", chunk.len())))
}

impl Reply {
    pub(crate) fn then(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.parts.push(Part::Bytes(bytes.into(), 1));
        self
    }

    /// The same bytes again and again.
    #[allow(dead_code, reason = "it is for the test of the memory")]
    pub(crate) fn then_times(mut self, times: usize, bytes: impl Into<Vec<u8>>) -> Self {
        self.parts.push(Part::Bytes(bytes.into(), times));
        self
    }

    pub(crate) fn gate(mut self, gate: &Arc<Notify>) -> Self {
        self.parts.push(Part::Gate(Arc::clone(gate)));
        self
    }

    /// Waits for the gate before anything is written.
    pub(crate) fn after(mut self, gate: &Arc<Notify>) -> Self {
        self.parts.insert(0, Part::Gate(Arc::clone(gate)));
        self
    }
}

/// An origin that gives one scripted reply after the other.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    requests: Vec<String>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let origin = Self { address, state };
        let served = origin.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(served.clone().serve(socket));
            }
        });
        origin
    }

    async fn serve(self, mut socket: TcpStream) {
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while !request.ends_with(b"\r\n\r\n") {
            if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            request.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&request).into_owned();
        let length = Answer::field_of(&head, "content-length");
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if socket.read_exact(&mut body).await.is_err() {
            return;
        }
        let reply = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(head);
            state.replies.pop_front()
        };
        // Without a reply it hangs up, as an origin that has failed does.
        let Some(reply) = reply else { return };
        for part in reply.parts {
            match part {
                Part::Bytes(bytes, times) => {
                    for _ in 0..times {
                        if socket.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                }
                Part::Gate(gate) => gate.notified().await,
            }
        }
        let _ = socket.shutdown().await;
    }

    pub(crate) fn will(&self, reply: Reply) {
        self.state.lock().unwrap().replies.push_back(reply);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) async fn asked(&self, times: usize) {
        let enough = || async { self.requests().len() >= times };
        eventually(Duration::from_secs(10), enough).await;
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether its content ended where it was to end.
    pub(crate) whole: bool,
}

impl Answer {
    /// Sends bytes, and reads until the connection is closed.
    pub(crate) async fn to(address: SocketAddr, request: &str) -> Self {
        let mut socket = Self::send(address, request).await;
        let mut bytes = Vec::new();
        // A connection that is reset has brought what it has brought.
        let _ = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut bytes))
            .await
            .expect("an answer ends");
        Self::parse(&bytes, request.starts_with("HEAD "))
    }

    pub(crate) async fn send(address: SocketAddr, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    pub(crate) fn parse(bytes: &[u8], to_head: bool) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Self { status: 0, head: text.into(), body: String::new(), whole: false };
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (body, whole) = match Self::field_of(head, "transfer-encoding") {
            Some(_) => dechunked(body),
            None => {
                let length = Self::field_of(head, "content-length");
                let length = length.map(|length| length.parse::<usize>().unwrap());
                let none = to_head || matches!(status, 204 | 304);
                (body.to_owned(), none || length.is_none_or(|length| length == body.len()))
            }
        };
        Self { status, head: head.to_owned(), body, whole }
    }

    /// The lines of a field, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        Self::field_of(&self.head, name)
    }

    fn field_of(head: &str, name: &str) -> Option<String> {
        let lines = head.lines().filter_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        lines.reduce(|all, line| format!("{all}, {line}"))
    }
}

fn dechunked(mut body: &str) -> (String, bool) {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (whole, true);
        }
        let Some(chunk) = rest.get(..size) else {
            whole.push_str(rest);
            return (whole, false);
        };
        whole.push_str(chunk);
        body = rest[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    (whole, false)
}
