use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use nix::unistd::{User, geteuid};

/// The account that servers run as: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    gid: u32,
    /// Whether it is another account than this process's.
    dropped: bool,
}

impl Account {
    /// This process's own account, or an unprivileged one when it is root's:
    /// `postgres` if there is one, else `nobody`.
    pub(crate) fn of_servers() -> Self {
        static ACCOUNT: OnceLock<Account> = OnceLock::new();
        *ACCOUNT.get_or_init(|| {
            if !geteuid().is_root() {
                return Self { uid: geteuid().as_raw(), gid: 0, dropped: false };
            }
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .expect("every system has the account `nobody`");
            Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), dropped: true }
        })
    }

    /// Makes `command` run as this account.
    pub(crate) fn run(self, command: &mut Command) {
        if self.dropped {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives a file or a folder to this account.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        if self.dropped { chown(path, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    /// Whether this account may walk into `path` and everything above it.
    pub(crate) fn can_reach(self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;

        let open = |folder: &Path| {
            folder.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
        };
        !self.dropped || path.ancestors().all(open)
    }
}
