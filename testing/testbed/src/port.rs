use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::{fs, io};

use crate::cache;
use crate::error::Error;

/// A free port of 127.0.0.1 that is its owner's as long as this lives, also
/// while the server is down and its port is free for anyone.
///
/// It lies below the ports which kernels give to outgoing connections, and a
/// locked file keeps other testbeds away.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _claim: File,
}

impl Port {
    pub(crate) fn claim() -> Result<Self, Error> {
        let folder = cache::folder()?.join("ports");
        let failed =
            |error| Error::io(format!("claiming a port in {}", folder.display()))(error);
        fs::create_dir_all(&folder).map_err(failed)?;
        for _ in 0..1000 {
            let number = fastrand::u16(15_000..32_000);
            let claim = folder.join(number.to_string());
            let file = File::options().create(true).append(true).open(claim).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _claim: file });
            }
        }
        Err(failed(io::Error::new(
            io::ErrorKind::AddrInUse,
            "every port that was tried is taken",
        )))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
