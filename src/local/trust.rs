//! Which folders are relied on: those that no other account can change, or put another one in the place of.
//!
//! A path is walked from the root, one open folder at a time, and each is judged before anything in it is opened. So
//! what was judged is what is used, and the path keeps leading there as long as this account and root leave it alone.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{
    LocalError,
    account::{is_trusted, me},
    dir::{Dir, FOLDER},
};

/// As many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// Whose a folder may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This account's.
    Us,
    /// Likewise; where that is root, also that of an account which root gives to the servers.
    UsOrServer,
}

/// Opens a folder of this account's that no other one can write to; None where there is none. Links on the way are
/// followed if this account or root made them.
pub(super) fn open(path: &Path) -> Result<Option<Dir>, LocalError> {
    walk(path, None)?.map(own).transpose()
}

/// As [`open`], making the folder and those above it where they are missing.
pub(super) fn make(path: &Path, mode: u32) -> Result<Dir, LocalError> {
    let missing = || LocalError::folder("open", path)(io::ErrorKind::NotFound.into());
    own(walk(path, Some(mode))?.ok_or_else(missing)?)
}

/// Opens a folder of a server's that only its owner can write to. It may belong to an account of the server's own, as
/// may folders above it; where we are not root it must be ours. None where there is none.
pub(super) fn open_server_folder(path: &Path) -> Result<Option<Dir>, LocalError> {
    let Some(walked) = walk(path, None)? else { return Ok(None) };
    check(&walked.path, &walked.stat, Owner::UsOrServer)?;
    walked.refuse_foreign(|other| other != walked.stat.st_uid)?;
    walked.open().map(Some)
}

/// Where a path leads.
struct Walked {
    /// It gives access to nothing yet.
    fd: OwnedFd,
    path: PathBuf,
    stat: Stat,
    /// Folders above it, and links to it, of neither this account nor root.
    foreign: Vec<(PathBuf, u32)>,
}

impl Walked {
    fn refuse_foreign(&self, refused: impl Fn(u32) -> bool) -> Result<(), LocalError> {
        match self.foreign.iter().find(|(_, owner)| refused(*owner)).cloned() {
            Some((parent, owner)) => Err(LocalError::ForeignParent { folder: self.path.clone(), parent, owner }),
            None => Ok(()),
        }
    }

    fn open(self) -> Result<Dir, LocalError> {
        let opened = fs::openat(&self.fd, ".", FOLDER | OFlags::RDONLY, Mode::empty()).map_err(io::Error::from);
        let fd = opened.map_err(LocalError::folder("open", &self.path))?;
        Ok(Dir::new(fd, self.path))
    }
}

/// A folder of our own, writable by us alone.
fn own(walked: Walked) -> Result<Dir, LocalError> {
    walked.refuse_foreign(|_| true)?;
    check(&walked.path, &walked.stat, Owner::Us)?;
    walked.open()
}

/// Refuses an open folder of another owner, or that others than its owner may write to.
pub(super) fn judge(dir: Dir, owner: Owner) -> Result<Dir, LocalError> {
    check(dir.path(), &dir.stat()?, owner)?;
    Ok(dir)
}

/// As [`judge`]. A group that may write counts as others even where it has no other member.
fn check(path: &Path, stat: &Stat, owner: Owner) -> Result<(), LocalError> {
    let is_any = owner == Owner::UsOrServer && me() == 0;
    if stat.st_uid != me() && !is_any {
        return Err(LocalError::ForeignFolder { path: path.to_owned(), owner: stat.st_uid });
    }
    if stat.st_mode & 0o022 == 0 {
        return Ok(());
    }
    Err(LocalError::Exposed { path: path.to_owned(), to: writers(stat) })
}

fn walk(path: &Path, make_mode: Option<u32>) -> Result<Option<Walked>, LocalError> {
    let opened = LocalError::folder("open", path);
    let absolute = std::path::absolute(path).map_err(opened)?;
    let mut way = Way { folders: vec![top()?], foreign: Vec::new() };
    let mut todo: VecDeque<OsString> = names(&absolute).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            way.up();
            continue;
        }
        way.judge(&absolute)?;
        let (here, above) = way.last();
        let path = above.join(&name);
        let fd = match fs::openat(here, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => match make_mode {
                None => return Ok(None),
                Some(_) if let Some((parent, owner)) = way.foreign.first().cloned() => {
                    return Err(LocalError::ForeignParent { folder: absolute, parent, owner });
                }
                Some(mode) => make_here(here, &name, mode).map_err(LocalError::folder("make the folder", &path))?,
            },
            found => found.map_err(io::Error::from).map_err(LocalError::folder("open", &path))?,
        };
        let stat = fs::fstat(&fd).map_err(io::Error::from).map_err(LocalError::folder("open", &path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => way.folders.push((fd, path)),
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(LocalError::folder("open", &path)(Errno::LOOP.into()));
                }
                if !is_trusted(stat.st_uid) {
                    way.foreign.push((path.clone(), stat.st_uid));
                }
                let target = fs::readlinkat(&fd, "", Vec::new()).map_err(io::Error::from);
                let target = target.map_err(LocalError::folder("read", &path))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    way.folders.truncate(1);
                }
                names(&target).rev().for_each(|name| todo.push_front(name));
            }
            _ => return Err(LocalError::NotOurs { path, wanted: "folder" }),
        }
    }
    let Way { mut folders, foreign } = way;
    let Some((fd, path)) = folders.pop() else { return Ok(None) };
    let stat = fs::fstat(&fd).map_err(io::Error::from).map_err(LocalError::folder("open", &path))?;
    Ok(Some(Walked { fd, path, stat, foreign }))
}

/// The folders from the root down to where a walk has come.
struct Way {
    folders: Vec<(OwnedFd, PathBuf)>,
    foreign: Vec<(PathBuf, u32)>,
}

impl Way {
    fn last(&self) -> (&OwnedFd, &Path) {
        let (fd, path) = &self.folders[self.folders.len() - 1];
        (fd, path)
    }

    fn up(&mut self) {
        if self.folders.len() > 1 {
            self.folders.pop();
        }
    }

    /// Judges the last folder as one that the way leads through.
    fn judge(&mut self, folder: &Path) -> Result<(), LocalError> {
        let (fd, path) = self.last();
        let stat = fs::fstat(fd).map_err(io::Error::from).map_err(LocalError::folder("open", path))?;
        let sticky = stat.st_mode & 0o1000 != 0;
        if stat.st_mode & 0o022 != 0 && !sticky && !only_its_owner_writes(fd, &stat) {
            let (parent, folder) = (path.to_owned(), folder.to_owned());
            return Err(LocalError::ExposedParent { folder, parent, to: writers(&stat) });
        }
        if !is_trusted(stat.st_uid) {
            let foreign = (path.to_owned(), stat.st_uid);
            if !self.foreign.contains(&foreign) {
                self.foreign.push(foreign);
            }
        }
        Ok(())
    }
}

fn top() -> Result<(OwnedFd, PathBuf), LocalError> {
    let root = Path::new("/");
    let opened = fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    Ok((opened.map_err(io::Error::from).map_err(LocalError::folder("open", root))?, root.to_owned()))
}

/// The names that a path consists of.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Makes a folder, unless another process of ours was quicker.
fn make_here(parent: &OwnedFd, name: &OsString, mode: u32) -> io::Result<OwnedFd> {
    let made = match fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let fd = fs::openat(parent, name, FOLDER | OFlags::RDONLY, Mode::empty())?;
    if made {
        // Whatever the umask says.
        fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    Ok(fd)
}

/// Whether a folder that its group may write to has a group of its owner alone. Many distributions give such a group to
/// each account, with a umask that trusts it. The group's bits of a folder with an access list speak of others, too.
///
/// Members are those that the group names and, of `/etc/passwd`, those whose primary group it is. An account of a
/// directory service (LDAP, say) whose primary group it is, and which the group does not name, is not found.
fn only_its_owner_writes(fd: &OwnedFd, stat: &Stat) -> bool {
    if stat.st_mode & 0o002 != 0 {
        return false;
    }
    let user = User::from_uid(Uid::from_raw(stat.st_uid)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(stat.st_gid)).ok().flatten();
    let (Some(user), Some(group)) = (user, group) else { return false };
    let private = user.gid == group.gid && user.name == group.name && group.mem.iter().all(|name| *name == user.name);
    let Ok(passwd) = std::fs::read_to_string("/etc/passwd") else { return false };
    let private = private && !has_other_account(&passwd, stat.st_uid, stat.st_gid);
    // A descriptor that can only be passed through gives no attributes by itself.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let list = fs::getxattr(path, "system.posix_acl_access", &mut [0; 0]);
    private && matches!(list, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Whether the text of `/etc/passwd` has another account than this one with that primary group.
fn has_other_account(passwd: &str, uid: u32, gid: u32) -> bool {
    let numbers = |line: &str| -> Option<(u32, u32)> {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    passwd.lines().filter_map(numbers).any(|(other, group)| group == gid && other != uid)
}

fn writers(stat: &Stat) -> &'static str {
    if stat.st_mode & 0o002 != 0 { "every account" } else { "its group" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    fn refusal(path: &Path) -> String {
        let made = make(path, 0o700).expect_err("it must be refused").to_string();
        if path.exists() {
            assert_eq!(open(path).expect_err("it must be refused").to_string(), made);
        }
        made
    }

    #[test]
    fn a_folder_is_made_and_found() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let path = temp.path().join("a/../b/./c");
        assert!(open(&path).expect("nothing is wrong with it").is_none());
        let made = make(&temp.path().join("b/c"), 0o711).expect("folders can be made");
        let opened = open(&temp.path().join("b/c/../c")).expect("it is ours").expect("it is there");
        assert_eq!(made.path(), opened.path());
        assert_eq!(made.path(), made.path().canonicalize().expect("it is there"));
        let modes = [made.path(), made.path().parent().expect("it has one")]
            .map(|path| path.metadata().expect("it is there").permissions().mode() & 0o777);
        assert_eq!(modes, [0o711, 0o711]);
        let file = temp.path().join("file");
        std::fs::write(&file, "").expect("a file can be made");
        for path in [file.clone(), file.join("below")] {
            assert!(refusal(&path).contains("is not a folder"), "{}", refusal(&path));
        }
    }

    #[test]
    fn what_others_may_write_to_is_refused() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let (parent, folder) = (temp.path().join("parent"), temp.path().join("parent/folder"));
        make(&folder, 0o700).expect("folders can be made");
        for (exposed, to) in [(0o770, "its group"), (0o702, "every account"), (0o1777, "every account")] {
            mode(&folder, exposed);
            let said = refusal(&folder);
            assert!(said.contains(&format!("can be written by {to}")), "{exposed:o}: {said}");
            assert!(said.contains(&format!("`chmod go-w {}`", folder.display())), "{exposed:o}: {said}");
        }
        mode(&folder, 0o755);
        mode(&parent, 0o777);
        let said = refusal(&folder);
        assert!(said.contains("could be replaced") && said.contains(&format!("`chmod go-w {}`", parent.display())));
        assert!(refusal(&folder.join("missing/deep")).contains("could be replaced"));
        assert!(!folder.join("missing").exists());
        // In a sticky one others can make entries, and take away only their own.
        mode(&parent, 0o1777);
        open(&folder).expect("it is ours").expect("it is there");
    }

    /// An access list that lets an account of this number read, write and pass, as the kernel stores it.
    fn access_list(uid: u32) -> Vec<u8> {
        let entries: [(u16, u16, u32); 5] =
            [(1, 7, u32::MAX), (2, 7, uid), (4, 7, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)];
        let bytes = entries.iter().flat_map(|(tag, rights, id)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
        });
        2u32.to_le_bytes().into_iter().chain(bytes).collect()
    }

    #[test]
    fn a_group_of_one_is_no_other_account() {
        if me() != 0 {
            eprintln!("left out: only root has a group of its own for certain");
            return;
        }
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let (parent, folder) = (temp.path().join("parent"), temp.path().join("parent/folder"));
        make(&folder, 0o700).expect("folders can be made");
        mode(&parent, 0o775);
        open(&folder).expect("the group has one member").expect("it is there");
        std::os::unix::fs::chown(&parent, None, Some(65534)).expect("root can");
        assert!(refusal(&folder).contains("can be written by its group"));
        std::os::unix::fs::chown(&parent, None, Some(0)).expect("root can");
        open(&folder).expect("the group has one member").expect("it is there");
        let (name, flags) = ("system.posix_acl_access", rustix::fs::XattrFlags::empty());
        match rustix::fs::setxattr(&parent, name, &access_list(65534), flags) {
            Err(Errno::OPNOTSUPP) => eprintln!("left out: this file system has no access lists"),
            set => {
                set.expect("root can set one");
                assert!(refusal(&folder).contains("can be written by its group"));
            }
        }
    }

    #[test]
    fn an_account_with_the_primary_group_of_another_is_a_member() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nada:x:1000:1000:Ada,,,:/home/ada:/bin/sh\n\
                      guest:x:1001:1000::/:\nbob:x:1002:1002::/:\n+::::::\nnonsense\n";
        assert!(has_other_account(passwd, 1000, 1000));
        assert!(!has_other_account(passwd, 1002, 1002) && !has_other_account(passwd, 0, 0));
    }

    #[test]
    fn links_of_our_own_are_followed_and_judged_where_they_lead() {
        let temp = tempfile::tempdir().expect("a temporary folder can be made");
        let (link, target) = (temp.path().join("link"), temp.path().join("disk/data"));
        symlink("disk/../disk/data", &link).expect("a link can be made");
        assert!(open(&link).expect("it leads nowhere yet").is_none());
        let made = make(&link, 0o700).expect("a folder can be made where it leads");
        assert_eq!(made.path(), target.canonicalize().expect("it is there"));
        let absolute = temp.path().join("absolute");
        symlink(&link, &absolute).expect("a link can be made");
        assert_eq!(open(&absolute).expect("it is ours").expect("it is there").path(), made.path());
        mode(&target, 0o777);
        assert!(refusal(&absolute).contains(&format!("`chmod go-w {}`", target.display())));
        let circle = temp.path().join("circle");
        symlink("circle", &circle).expect("a link can be made");
        assert!(make(&circle, 0o700).is_err());
    }
}
