//! The account that private servers run under when we are root: Postgres refuses to be root, and Redis need not be.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};
use rustix::fs::Stat;

/// An account that a root process gives a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account for new servers; None when this process is not root, and they simply run as the same account.
    pub fn ordinary() -> Option<Self> {
        if me() != 0 {
            return None;
        }
        let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        // Without an account database, 65534 is nobody everywhere.
        let (uid, gid) = found.map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw()));
        Some(Self { uid, gid })
    }

    /// The owner of a folder that a server made earlier; None when this process is not root, or the folder is root's.
    pub(super) fn owner_of(folder: &Stat) -> Option<Self> {
        (me() == 0 && folder.st_uid != 0).then_some(Self { uid: folder.st_uid, gid: folder.st_gid })
    }

    /// Its number, or ours where it is none.
    pub(super) fn uid_of(account: Option<&Self>) -> u32 {
        account.map_or_else(me, |account| account.uid)
    }

    /// Makes a command run under this account.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives it an open file or folder.
    pub fn give(&self, file: impl AsFd) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }

    /// Whether it can get to a folder of its own and write there. The kernel is asked rather than the mode bits read,
    /// for there are access lists, name spaces and strange file systems.
    pub(super) fn can_write(&self, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"test -x "$1" && test -w "$1""#, "sh"]).arg(folder);
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

/// This account.
pub(super) fn me() -> u32 {
    Uid::effective().as_raw()
}

/// Whether an account may lead us elsewhere: this one, root, or one from outside of the container.
pub(super) fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == me() || is_outside(owner)
}

/// Whether an owner has no number in this user namespace, and is shown as the overflow account. In a container without
/// root the host's folders look like that. No process in the container can be that account.
fn is_outside(owner: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid").trim().parse().ok();
    overflow == Some(owner) && !is_mapped(&read("/proc/self/uid_map"), owner)
}

/// Whether a map of `/proc/self/uid_map` knows a number. One that cannot be read knows all.
fn is_mapped(map: &str, uid: u32) -> bool {
    let holds = |line: &str| -> Option<bool> {
        let mut words = line.split_whitespace();
        let (first, _, count): (u64, _, u64) =
            (words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?);
        Some((first..first + count).contains(&u64::from(uid)))
    };
    map.lines().next().is_none() || map.lines().any(|line| holds(line).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_from_outside_of_the_container_is_known_by_its_number() {
        let host = "         0          0 4294967295\n";
        assert!(is_mapped(host, 65534) && is_mapped("", 65534) && is_mapped("nonsense", 65534));
        let container = "         0       1000          1\n         1     100000      65535\n";
        assert!(is_mapped(container, 65534));
        assert!(!is_mapped("      1000       1000          1\n", 65534));
    }
}
