//! Where the append-only file of a private Redis stands, and which account it belongs to.

use super::{
    LocalError,
    account::Account,
    dir::Dir,
    folder::{DataFolder, REDIS},
    place,
    server_lock::Waiting,
    takeover,
};

/// The server, in messages, and its lock within the folder.
pub(super) const NAME: &str = "Redis";
pub(super) const LOCK: &str = "redis.lock";

/// What is empty once a link that leads nowhere is deleted.
const BEGINS: &str = "Redis, which is filled from the ledger again";

/// The folder of the append-only file, made where it is missing, and the account that Redis runs under: None for ours.
pub(super) async fn find_or_make(folder: &DataFolder) -> Result<(Dir, Option<Account>), LocalError> {
    takeover::go_on(folder, REDIS).await?;
    let ordinary = Account::ordinary();
    match (place::find(folder, REDIS, BEGINS)?, ordinary) {
        (None, account) => Ok((make(folder, account.as_ref()).await?, account)),
        (Some(dir), None) => Ok((dir, None)),
        (Some(dir), Some(ordinary)) => {
            let account = Account::owner_of(&dir.stat()?).unwrap_or(ordinary);
            Ok((within_reach(folder, dir, &account).await?, Some(account)))
        }
    }
}

async fn make(folder: &DataFolder, account: Option<&Account>) -> Result<Dir, LocalError> {
    let parent = place::parent_of_new(folder, account).await?;
    parent.make_empty(&place::unfinished(REDIS), account).await?;
    place::finish(folder, &parent, REDIS)?;
    parent.folder(REDIS)
}

/// Sees to it that the folder is the account's, at a place that it can get to.
async fn within_reach(folder: &DataFolder, dir: Dir, account: &Account) -> Result<Dir, LocalError> {
    let is_roots = Account::owner_of(&dir.stat()?).is_none();
    if !is_roots && account.can_write(dir.path()) {
        return Ok(dir);
    }
    // Nothing may be at work on what is given away or moved.
    let _lock = Waiting::new(&folder.dir, LOCK, NAME).finish().await?;
    // A link leads to a place that a person chose, where the data stays.
    let is_here = dir.path() == folder.dir.join(REDIS);
    if is_here && !place::reaches(&folder.dir, account).await? {
        return takeover::move_elsewhere(folder, REDIS, account).await;
    }
    if is_roots {
        takeover::give_tree(&dir, account)?;
    }
    place::check_reach(NAME, &dir, Some(account))?;
    Ok(dir)
}
