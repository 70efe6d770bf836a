//! The account that Postgres runs under: it refuses to be root.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

/// An account that a root process gives a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account for Postgres; None when this process is not root, and Postgres simply runs as the same account.
    pub fn for_postgres() -> Option<Self> {
        if !Uid::effective().is_root() {
            return None;
        }
        let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        // Without an account database, 65534 is nobody everywhere.
        let (uid, gid) = found.map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw()));
        Some(Self { uid, gid })
    }

    /// The owner of a folder that Postgres made earlier; None when this process is not root.
    pub fn owner_of(path: &Path) -> io::Result<Option<Self>> {
        let metadata = std::fs::metadata(path)?;
        let root = Uid::effective().is_root();
        Ok((root && metadata.uid() != 0).then(|| Self { uid: metadata.uid(), gid: metadata.gid() }))
    }

    /// Makes a command run under this account.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives it a file or folder.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// Whether it can get to a folder of its own and write there. The kernel is asked rather than the mode bits read,
    /// for there are access lists, name spaces and strange file systems.
    pub fn can_write(&self, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"test -x "$1" && test -w "$1""#, "sh"]).arg(folder);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}
