//! Where a server's data stands: in the data folder or, where the servers' account cannot get in there, elsewhere.
//!
//! As root the servers run under an ordinary account, which cannot pass through a folder such as `/root`. Then their
//! data goes to a folder under `/var/lib/nowserving` that belongs to this data folder alone, and links lead there:
//!
//! ```text
//! .nowserving/
//!   elsewhere -> /var/lib/nowserving/<hash>-<random>     made first, so that an interrupted start goes on there
//!   redis     -> …/redis
//!   postgres  -> …/postgres
//! ```
//!
//! A link to a server's folder is made before that folder gets its final name; until then the folder stands beside it
//! as `<name>.unfinished`. So a link that leads nowhere is an interrupted start, which is begun again, or else a loss.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::{
    LocalError,
    account::Account,
    dir::{Dir, Kind},
    folder::DataFolder,
    trust::{self, Owner},
};

const ELSEWHERE: &str = "elsewhere";
const ALL_ELSEWHERE: &str = "/var/lib/nowserving";
const PROBE: &str = "probe";

/// The name of what is being made under a name.
pub(super) fn unfinished(name: &str) -> String {
    format!("{name}.unfinished")
}

/// Finds a server's folder; None where there is none yet. `begins` is what is empty once a link that leads nowhere is
/// deleted.
pub(super) fn find(folder: &DataFolder, name: &str, begins: &'static str) -> Result<Option<Dir>, LocalError> {
    match folder.dir.kind(name)? {
        Kind::Missing => Ok(None),
        Kind::Link(target) => match trust::open_server_folder(&folder.dir.join(name))? {
            Some(dir) => Ok(Some(dir)),
            None if is_unfinished(&target, name)? => {
                folder.dir.remove_file(name)?;
                Ok(None)
            }
            None => Err(LocalError::LostData { link: folder.dir.join(name), target, begins }),
        },
        _ => trust::judge(folder.dir.folder(name)?, Owner::UsOrServer).map(Some),
    }
}

/// Whether what a link leads to was about to get its name.
fn is_unfinished(target: &Path, name: &str) -> Result<bool, LocalError> {
    let Some(parent) = target.parent() else { return Ok(false) };
    Ok(match trust::open(parent) {
        Ok(Some(parent)) => parent.kind(&unfinished(name))? != Kind::Missing,
        // It leads to a place of the account's own choice, where nothing is ever left unfinished.
        _ => false,
    })
}

/// The folder in which a new folder of a server's is to be made: the data folder if the account can get in there.
pub(super) async fn parent_of_new(folder: &DataFolder, account: Option<&Account>) -> Result<Dir, LocalError> {
    match account {
        Some(account) if !reaches(&folder.dir, account).await? => {
            let elsewhere = elsewhere(folder)?;
            warn!(
                folder = %elsewhere.path().display(),
                "the account of the private servers cannot get into {}: data goes into another folder",
                folder.dir.path().display()
            );
            Ok(elsewhere)
        }
        _ => Ok(folder.dir.clone()),
    }
}

/// Gives what was made under [`unfinished`] its name, and lets the data folder's entry lead there.
pub(super) fn finish(folder: &DataFolder, parent: &Dir, name: &str) -> Result<(), LocalError> {
    if parent.path() != folder.dir.path() {
        move_off(parent, name)?;
        folder.dir.link(name, &parent.join(name))?;
        folder.dir.sync()?;
        crate::failpoint::pass("local_linked");
    }
    parent.rename(&unfinished(name), name)?;
    // Renames reach the disk with their folder.
    parent.sync()
}

/// What no entry of the data folder leads to any more was given up: it is neither used nor deleted.
fn move_off(parent: &Dir, name: &str) -> Result<(), LocalError> {
    if parent.kind(name)? != Kind::Missing && parent.remove_folder(name).is_err() {
        let aside = format!("{name}.unlinked-{:08x}", rand::random::<u32>());
        warn!(folder = %parent.join(&aside).display(), "putting aside data that no link of the data folder leads to");
        parent.rename(name, &aside)?;
    }
    Ok(())
}

/// Whether an account can get to folders of its own in a folder of ours.
pub(super) async fn reaches(dir: &Dir, account: &Account) -> Result<bool, LocalError> {
    let probe = dir.make_empty(PROBE, Some(account)).await?;
    let reaches = account.can_write(probe.path());
    dir.remove_folder(PROBE)?;
    Ok(reaches)
}

/// Refuses a server's folder that its account cannot get to.
pub(super) fn check_reach(server: &'static str, dir: &Dir, account: Option<&Account>) -> Result<(), LocalError> {
    if account.is_none_or(|account| account.can_write(dir.path())) {
        return Ok(());
    }
    Err(LocalError::Unreachable { server, path: dir.path().to_owned() })
}

/// The folder that holds what cannot be in the data folder.
pub(super) fn elsewhere(folder: &DataFolder) -> Result<Dir, LocalError> {
    let target = match folder.dir.kind(ELSEWHERE)? {
        Kind::Link(target) => target,
        Kind::Missing => {
            // The random part keeps a folder that was deleted and made again apart from its predecessor, whose orders
            // the new Redis would know nothing of.
            let new = || Path::new(ALL_ELSEWHERE).join(format!("{}-{:016x}", folder.hash(), rand::random::<u64>()));
            let target = earlier(folder)?.unwrap_or_else(new);
            folder.dir.link(ELSEWHERE, &target)?;
            target
        }
        _ => return Err(LocalError::NotOurs { path: folder.dir.join(ELSEWHERE), wanted: "link" }),
    };
    trust::make(&target, 0o711)
}

/// Where an earlier version put the cluster, before there was a link of that name.
fn earlier(folder: &DataFolder) -> Result<Option<PathBuf>, LocalError> {
    let Kind::Link(target) = folder.dir.kind(super::folder::POSTGRES)? else { return Ok(None) };
    Ok(target.parent().filter(|parent| parent.parent() == Some(Path::new(ALL_ELSEWHERE))).map(Path::to_owned))
}
