use std::io;
use std::pin::Pin;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The longest value that Redis can hold by default, 512 MiB.
const LONGEST: usize = 512 << 20;

/// What Redis answers to a command, in the second version of its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: no such key, or an aborted transaction.
    Nil,
    /// A word of the server's own, such as `OK`.
    Status(String),
    /// A number.
    Integer(i64),
    /// A value.
    Bytes(Vec<u8>),
    /// A refusal within an array; alone it is an [`Error::Redis`](crate::Error::Redis).
    Refusal(String),
    /// Several replies.
    Array(Vec<Self>),
}

impl Reply {
    /// A status, or a value that is UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Status(text) => Some(text),
            Self::Bytes(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A number, or a value that is one in decimal.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => self.text()?.parse().ok(),
        }
    }

    /// The items of an array; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The value of a line `name:value`, as INFO and CLUSTER INFO have them.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.text()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }
}

type Read<'a> = Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + 'a>>;

/// Reads one reply, with all that is nested in it.
pub(super) fn read<R: AsyncBufRead + Unpin + Send>(from: &mut R) -> Read<'_> {
    Box::pin(async move {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).await?;
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let (kind, rest) = line.split_first().ok_or_else(|| strange(line))?;
        let rest = || String::from_utf8_lossy(rest).into_owned();
        let number = || rest().parse::<i64>().map_err(|_| strange(line));
        match kind {
            b'+' => Ok(Reply::Status(rest())),
            b'-' => Ok(Reply::Refusal(rest())),
            b':' => Ok(Reply::Integer(number()?)),
            b'$' | b'*' if number()? == -1 => Ok(Reply::Nil),
            b'$' => {
                let length = usize::try_from(number()?).map_err(|_| strange(line))?;
                if length > LONGEST {
                    return Err(strange(line));
                }
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Reply::Bytes(bytes))
            }
            b'*' => {
                let mut items = Vec::new();
                for _ in 0..number()? {
                    items.push(read(from).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(strange(line)),
        }
    })
}

fn strange(line: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(line);
    io::Error::new(io::ErrorKind::InvalidData, format!("not an answer of Redis: {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(mut bytes: &[u8]) -> io::Result<Reply> {
        read(&mut bytes).await
    }

    #[tokio::test]
    async fn every_kind_of_reply_is_read() {
        let bytes = b"*6\r\n+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*1\r\n$0\r\n\r\n";
        let reply = parse(bytes).await.unwrap();
        let nested = Reply::Array(vec![Reply::Bytes(Vec::new())]);
        let expected = [
            Reply::Status("OK".into()),
            Reply::Refusal("ERR no".into()),
            Reply::Integer(-7),
            Reply::Bytes(b"a\r\nb".into()),
            Reply::Nil,
            nested,
        ];
        assert_eq!(reply.items(), expected);
        assert_eq!(parse(b"*-1\r\n").await.unwrap(), Reply::Nil);
    }

    #[tokio::test]
    async fn what_is_cut_short_or_strange_is_an_error() {
        for bytes in [&b""[..], b"+OK", b"$3\r\nab", b"*2\r\n:1\r\n"] {
            let error = parse(bytes).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{bytes:?}");
        }
        for bytes in [&b"\r\n"[..], b"HTTP/1.1 200 OK\r\n", b":x\r\n", b"$-2\r\n"] {
            let error = parse(bytes).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = Reply::Bytes(b"# Replication\r\nrole_of:x\r\nrole:master\r\n".into());
        assert_eq!(info.field("role"), Some("master"));
        assert_eq!(info.field("rol"), None);
    }
}
