//! The Redis data of a root that ran Redis as itself, as earlier versions did: it is given to the servers' account, and
//! moved where that account can get to it.
//!
//! Each step can be interrupted, and is then done again: a folder is given away after all that is in it, and a copy
//! takes the place of the original by renames.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;
use tracing::warn;

use super::{
    LocalError,
    account::Account,
    dir::{Dir, Kind},
    folder::DataFolder,
    place::{self, unfinished},
};

/// The name of the original once its copy is complete.
fn moved(name: &str) -> String {
    format!("{name}.moved")
}

/// Gives a folder to an account, with all that is in it. Does nothing where that was done.
pub(super) fn give_tree(dir: &Dir, account: &Account) -> Result<(), LocalError> {
    for name in dir.names()? {
        match dir.kind(&name)? {
            Kind::Folder => give_tree(&dir.folder(&name)?, account)?,
            Kind::File => give_file(dir, &name, account)?,
            // Left over from a Redis that died: it makes its own.
            Kind::Socket => dir.remove_file(&name)?,
            _ => return Err(LocalError::NotOurs { path: dir.join(&name), wanted: "file or folder" }),
        }
        crate::failpoint::pass("local_given");
    }
    dir.give(Some(account))
}

fn give_file(dir: &Dir, name: &str, account: &Account) -> Result<(), LocalError> {
    let file = dir.open_any(name, OFlags::RDONLY)?;
    let found = file.metadata().map_err(dir.failed("open", name))?;
    if found.nlink() == 1 {
        return account.give(&file).map_err(dir.failed("give away", name));
    }
    // Its other name may be a backup, which stays whose it is.
    let copy = unfinished(name);
    copy_file(&file, dir, &copy, account)?;
    crate::failpoint::pass("local_file_copied");
    dir.rename(&copy, name)?;
    dir.sync()
}

/// Moves the folder of a name in the data folder to where the account can get to it, and gives it that.
pub(super) async fn move_elsewhere(folder: &DataFolder, name: &str, account: &Account) -> Result<Dir, LocalError> {
    let elsewhere = place::elsewhere(folder)?;
    let original = folder.dir.folder(name)?;
    warn!(
        from = %original.path().display(),
        to = %elsewhere.join(name).display(),
        "moving data to where the account of the private servers can get to it"
    );
    elsewhere.remove_tree(&unfinished(name)).await?;
    copy_tree(&original, &elsewhere.make_folder(&unfinished(name), 0o700)?, account)?;
    crate::failpoint::pass("local_copied");
    folder.dir.rename(name, &moved(name))?;
    crate::failpoint::pass("local_moved");
    place::finish(folder, &elsewhere, name)?;
    crate::failpoint::pass("local_move_finished");
    folder.dir.remove_tree(&moved(name)).await?;
    elsewhere.folder(name)
}

/// Goes on with a move that was interrupted.
pub(super) async fn go_on(folder: &DataFolder, name: &str) -> Result<(), LocalError> {
    let moved = moved(name);
    if folder.dir.kind(&moved)? != Kind::Folder {
        return Ok(());
    }
    match folder.dir.kind(name)? {
        Kind::Missing => folder.dir.rename(&moved, name),
        // The copy has its name since its link was made.
        Kind::Link(target) if target.is_dir() => folder.dir.remove_tree(&moved).await,
        Kind::Link(_) => {
            folder.dir.remove_file(name)?;
            folder.dir.rename(&moved, name)
        }
        // It was brought back by hand; both are kept.
        _ => Ok(()),
    }
}

fn copy_tree(from: &Dir, to: &Dir, account: &Account) -> Result<(), LocalError> {
    for name in from.names()? {
        match from.kind(&name)? {
            Kind::Folder => copy_tree(&from.folder(&name)?, &to.make_folder(&name, 0o700)?, account)?,
            Kind::File => copy_file(&from.open_any(&name, OFlags::RDONLY)?, to, &name, account)?,
            Kind::Socket => {}
            _ => return Err(LocalError::NotOurs { path: from.join(&name), wanted: "file or folder" }),
        }
    }
    to.sync()?;
    to.give(Some(account))
}

fn copy_file(mut from: &File, to: &Dir, name: &str, account: &Account) -> Result<(), LocalError> {
    to.remove_file(name)?;
    let mut copy = to.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    io::copy(&mut from, &mut copy).and_then(|_| copy.sync_all()).map_err(to.failed("write", name))?;
    account.give(&copy).map_err(to.failed("give away", name))
}
