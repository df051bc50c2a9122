//! `HttpCacheLayer` and a large content, in a process of its own, whose memory is looked at.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the other tests of the layer use more of it"
)]

#[path = "http_cache/support/mod.rs"]
mod support;

use tokio::io::AsyncReadExt;

use crate::support::{Answer, Bed, raw, request};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_gigabyte_goes_through_in_little_memory() {
    for fields in ["Transfer-Encoding: chunked", "Content-Length: 1073741824"] {
        let bed = Bed::with(|builder| builder.entry_limit(MIB)).await;
        let head = format!("HTTP/1.1 200 X\r\nCache-Control: max-age=60\r\n{fields}\r\n\r\n");
        let piece = "x".repeat(MIB as usize);
        bed.origin.will(if fields.contains("chunked") {
            raw(head).then_times(1_024, format!("100000\r\n{piece}\r\n")).then("0\r\n\r\n")
        } else {
            raw(head).then_times(1_024, piece)
        });
        let before = resident();
        let mut socket = Answer::send(bed.address, &request("GET", "/", "")).await;
        let (mut read, mut most) = (0, 0);
        let mut part = vec![0; 256 << 10];
        loop {
            let n = socket.read(&mut part).await.unwrap() as u64;
            if n == 0 {
                break;
            }
            read += n;
            most = most.max(resident());
        }
        assert!(read > 1_024 * MIB, "only {read} bytes came");
        let took = most.saturating_sub(before) / MIB;
        assert!(took < 16, "{fields}: it took {took} MiB");
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
