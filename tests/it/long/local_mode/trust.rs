//! Folders and links of other accounts: they are refused, and nothing happens to what they lead to.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;
use nowserving::local::LocalServers;

use super::world::{
    BOTH, POSTGRES, Precious, REDIS, as_ordinary_account, is_root, is_there, names, nobody, redis, refusal, start,
};
use crate::support::{Api, Daemon, DaemonOptions, scratch};

/// Every name that local mode uses in a data folder, and whether it stands for a folder.
const NAMES: [(&str, bool); 24] = [
    ("lock", false),
    ("lock.new", false),
    ("redis.lock", false),
    ("redis.pid", false),
    ("redis.pid.new", false),
    ("redis.log", false),
    ("redis.log.old", false),
    ("postgres.lock", false),
    ("postgres.log", false),
    ("postgres.log.old", false),
    ("redis", true),
    ("redis.unfinished", true),
    ("redis.moved", true),
    ("postgres", true),
    ("postgres.unfinished", true),
    ("elsewhere", true),
    ("probe", true),
    ("run", true),
    ("run/redis", true),
    ("run/redis.sock", false),
    ("run/postgres", true),
    ("run/redis/redis.sock", false),
    ("run/postgres/.s.PGSQL.5432", false),
    ("run/postgres/.s.PGSQL.5432.lock", false),
];

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn give(path: &Path, (uid, gid): (u32, u32)) {
    lchown(path, Some(uid), Some(gid)).expect("root can give away anything");
}

/// Plants a link of this name to something precious, with the folders above it.
fn plant(folder: &Path, (name, is_folder): (&str, bool), owner: Option<(u32, u32)>) -> Precious {
    let target = scratch::folder("precious").join("it");
    let precious = if is_folder { Precious::folder(target) } else { Precious::file(target) };
    let link = folder.join(name);
    for above in link.ancestors().skip(1).take_while(|above| *above != folder) {
        std::fs::create_dir_all(above).expect("it is ours");
        mode(above, 0o711);
    }
    symlink(precious.path(), &link).expect("a link can be made");
    if let Some(owner) = owner {
        give(&link, owner);
    }
    precious
}

#[tokio::test]
async fn root_does_nothing_in_a_folder_of_another_account() {
    if !is_root() {
        return;
    }
    // As in the world: the folder stands where all may make folders.
    let shared = scratch::folder("shared");
    mode(&shared, 0o1777);
    let mut options = DaemonOptions::local();
    options.data_dir = shared.join(".nowserving");
    std::fs::create_dir(&options.data_dir).expect("it is ours");
    let planted: Vec<Precious> = NAMES
        .iter()
        .filter(|(name, _)| !name.contains('/'))
        .map(|&name| plant(&options.data_dir, name, Some(nobody())))
        .collect();
    give(&options.data_dir, nobody());
    let before = names(&options.data_dir);
    for command in ["serve", "verify", "migrate", "cleanup", "doctor"] {
        let refused = options.run(command, &[]);
        assert_eq!(refused.status.code(), Some(1), "{command}: {refused:?}");
        let sentence = format!(
            "{} belongs to uid {}: start nowserving as that account, or choose another folder with --data-dir",
            options.data_dir.display(),
            nobody().0
        );
        assert!(refused.stderr.contains(&sentence), "{command}: {refused:?}");
        planted.iter().for_each(|precious| precious.assert_untouched(command));
        assert_eq!(names(&options.data_dir), before, "{command}");
    }
}

#[tokio::test]
async fn a_planted_link_is_never_followed() {
    for owner in [None, Some(nobody())] {
        if owner.is_some() && !is_root() {
            continue;
        }
        // A cluster takes seconds to make, so its names are tried once: with the worse of the two owners.
        let is_worst = owner.is_some() || !Uid::effective().is_root();
        for name in NAMES.into_iter().filter(|(name, _)| is_worst || !name.contains("postgres")) {
            let folder = scratch::folder("planted");
            let precious = plant(&folder, name, owner);
            let needs = if name.0.contains("postgres") { POSTGRES } else { REDIS };
            let started =
                LocalServers::start(&folder, needs, nowserving::local::redis::AppendFsync::EverySecond, "serve");
            let outcome = match started.await {
                Ok(servers) => {
                    servers.stop().await;
                    "started".to_owned()
                }
                Err(error) => error.to_string(),
            };
            let after = format!("{} made by {owner:?}: {outcome}", name.0);
            // What this account itself linked is a server's own folder: that it is used as one is the purpose.
            let is_purpose = owner.is_none() && ["redis", "postgres", "elsewhere"].contains(&name.0);
            if !is_purpose {
                precious.assert_untouched(&after);
            }
            let is_opened = ["lock", "redis.lock", "redis.log", "postgres.lock", "postgres.log", "run"];
            if is_opened.contains(&name.0) {
                assert!(outcome.contains(name.0) && outcome.contains("--data-dir"), "{after}");
                assert!(is_there(&folder, name.0), "{after}");
            }
            assert_eq!(scratch::servers_under(&folder), [], "{after}");
        }
    }
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused() {
    for name in ["lock", "redis.lock", "redis.log", "redis.pid"] {
        // Another name of a file, which could be any file on the disk.
        let folder = scratch::folder("odd");
        let precious = Precious::file(folder.join("precious"));
        std::fs::hard_link(precious.path(), folder.join(name)).expect("it is on the same disk");
        if name == "redis.pid" {
            // It is replaced, not written.
            start(&folder, REDIS).await.stop().await;
        } else {
            let said = refusal(&folder, REDIS).await;
            assert!(said.contains(&format!("{name} is not a file that this account made")), "{said}");
        }
        precious.assert_untouched(name);
        // A pipe must not make it hang.
        let folder = scratch::folder("odd");
        let made = Command::new("mkfifo").arg(folder.join(name)).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
        let said = refusal(&folder, REDIS).await;
        assert!(said.contains(&format!("{name} is not a file that this account made")), "{said}");
    }
    if is_root() {
        let folder = scratch::folder("odd");
        std::fs::write(folder.join("lock"), "1\nserve\ntrue true\n").expect("it is ours");
        give(&folder.join("lock"), nobody());
        assert!(refusal(&folder, REDIS).await.contains("lock is not a file that this account made"));
    }
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_refused() {
    for exposed in [0o777, 0o775, 0o707, 0o1777, 0o1771] {
        let folder = scratch::folder("exposed");
        mode(&folder, exposed);
        let said = refusal(&folder, BOTH).await;
        let expected = format!("run `chmod go-w {}`, or choose another folder with --data-dir", folder.display());
        assert!(said.contains("can be written by") && said.contains(&expected), "{exposed:o}: {said}");
        assert_eq!(names(&folder), Vec::<String>::new(), "{exposed:o}");
        assert_eq!(LocalServers::find(&folder).await.err().map(|error| error.to_string()), Some(said));
    }
    for name in ["redis", "postgres", "run", "run/redis"] {
        let folder = scratch::folder("exposed");
        std::fs::create_dir_all(folder.join(name)).expect("it is ours");
        mode(&folder.join(name), 0o777);
        let said = refusal(&folder, BOTH).await;
        assert!(said.contains(&format!("chmod go-w {}", folder.join(name).display())), "{said}");
    }
}

#[tokio::test]
async fn a_parent_that_others_may_write_to_is_refused() {
    let parent = scratch::folder("parent");
    for made in [false, true] {
        let data_dir = parent.join(if made { "made" } else { "missing" });
        if made {
            std::fs::create_dir(&data_dir).expect("it is ours");
        }
        for exposed in [0o777, 0o757, 0o2777] {
            mode(&parent, exposed);
            let said = refusal(&data_dir, BOTH).await;
            assert!(said.contains("could be replaced by another account: run `chmod go-w "), "{exposed:o}: {said}");
            assert_eq!(is_there(&parent, &data_dir), made);
        }
        // As /tmp is.
        mode(&parent, 0o1777);
        start(&data_dir, REDIS).await.stop().await;
    }
}

#[tokio::test]
async fn a_parent_of_another_account_is_refused_to_root() {
    if !is_root() {
        return;
    }
    let parent = scratch::folder("theirs");
    give(&parent, nobody());
    for data_dir in [parent.join("missing"), parent.join("missing/deep"), parent.join("ours")] {
        if data_dir.ends_with("ours") {
            std::fs::create_dir(&data_dir).expect("root can");
        }
        let before = names(&parent);
        let said = refusal(&data_dir, BOTH).await;
        let expected = format!("{} belongs to uid {}, so ", parent.display(), nobody().0);
        assert!(said.starts_with(&expected) && said.contains("could be replaced by that account"), "{said}");
        assert_eq!(names(&parent), before);
    }
}

#[tokio::test]
async fn a_link_to_a_folder_of_our_own_is_that_folder() {
    let (here, disk) = (scratch::folder("here"), scratch::folder("disk"));
    let (link, data) = (here.join(".nowserving"), disk.join("ns"));
    symlink(&data, &link).expect("a link can be made");
    // It is made where the link leads.
    let servers = start(&link, BOTH).await;
    let url = servers.redis_url().expect("Redis was wanted").to_owned();
    redis(&url, &["SET", "order", "42"]).await.expect("Redis answers");
    assert_eq!(LocalServers::find(&data).await.expect("it is ours").expect("it runs").redis_url, Some(url.clone()));
    assert!(refusal(&data, BOTH).await.contains("in use by process"));
    servers.stop().await;
    let servers = start(&data, REDIS).await;
    assert_eq!(servers.redis_url(), Some(url.as_str()));
    assert_eq!(redis(&url, &["GET", "order"]).await, Ok("42".into()));
    servers.stop().await;
    // The target is judged as any folder is.
    mode(&data, 0o777);
    assert!(refusal(&link, BOTH).await.contains(&format!("chmod go-w {}", data.display())));
    mode(&data, 0o711);
    if is_root() {
        give(&data, nobody());
        assert!(refusal(&link, BOTH).await.contains("belongs to uid"));
        give(&data, (0, 0));
        // And so is the link.
        give(&link, nobody());
        let said = refusal(&link, BOTH).await;
        assert!(said.starts_with(&format!("{} belongs to uid {}", link.display(), nobody().0)), "{said}");
    }
}

#[tokio::test]
async fn servers_folders_may_be_links_of_our_own() {
    let (folder, disk) = (scratch::folder("linked"), scratch::folder("disk"));
    start(&folder, BOTH).await.stop().await;
    for name in ["redis", "postgres"] {
        std::fs::rename(folder.join(name), disk.join(name)).expect("it is the same disk");
        symlink(disk.join(name), folder.join(name)).expect("a link can be made");
    }
    start(&folder, BOTH).await.stop().await;
    assert_eq!(names(&disk), ["postgres", "redis"]);
    // What a link leads to may be unreachable, which is no reason to begin anew.
    std::fs::rename(disk.join("redis"), disk.join("away")).expect("it is ours");
    let said = refusal(&folder, BOTH).await;
    assert!(said.contains("redis points to") && said.contains("which is gone: bring it back, or delete"), "{said}");
    std::fs::rename(disk.join("away"), disk.join("redis")).expect("it is ours");
    start(&folder, BOTH).await.stop().await;
}

#[tokio::test]
async fn an_ordinary_account_keeps_to_its_own_folders() {
    let mut options = as_ordinary_account();
    let daemon = Daemon::start(&options);
    Api::at(daemon.url()).create(7, serde_json::json!({})).await;
    let (status, output) = daemon.terminate();
    assert!(status.success(), "{output}");
    if !is_root() {
        return;
    }
    let own = options.data_dir.clone();
    let refused = |options: &DaemonOptions, expected: &str| {
        for command in ["serve", "verify"] {
            let finished = options.run(command, &[]);
            assert_eq!(finished.status.code(), Some(1), "{command}: {finished:?}");
            assert!(finished.stderr.contains(expected) && finished.stderr.contains("--data-dir"), "{finished:?}");
        }
    };
    options.data_dir = scratch::folder("roots");
    refused(&options, "belongs to uid 0: start nowserving as that account");
    // A folder that is its group's alone, as many distributions give to each account: no other one can write there.
    let shared = scratch::folder("group");
    let postgres = nix::unistd::User::from_name("postgres").expect("accounts can be looked up");
    if let Some(postgres) = postgres {
        let account = (postgres.uid.as_raw(), postgres.gid.as_raw());
        give(&shared, account);
        mode(&shared, 0o775);
        options.account = Some(account);
        options.data_dir = shared.join("data");
        let daemon = Daemon::start(&options);
        assert!(daemon.terminate().0.success());
        // With a group that is not its own.
        chown(&shared, None, Some(0)).expect("root can give away a folder");
        refused(&options, "could be replaced by another account");
    }
    options.data_dir = own;
    options.account = None;
    refused(&options, "belongs to uid");
}

#[tokio::test]
async fn a_folder_of_sockets_that_another_account_made_is_refused() {
    if !is_root() {
        return;
    }
    // The path is too long for sockets, so they go to a folder under /tmp, whose name is known beforehand.
    let data_dir = scratch::folder("squatted").join("x".repeat(120));
    let servers = start(&data_dir, REDIS).await;
    let url = servers.redis_url().expect("Redis was wanted").to_owned();
    servers.stop().await;
    let run: PathBuf = Path::new(url.trim_start_matches("unix://")).ancestors().nth(2).expect("it has one").into();
    std::fs::create_dir(&run).expect("it is free again");
    give(&run, nobody());
    let said = refusal(&data_dir, REDIS).await;
    assert!(said.contains(&format!("{} belongs to uid {}", run.display(), nobody().0)), "{said}");
    std::fs::remove_dir(&run).expect("it is empty");
    let precious = Precious::folder(scratch::folder("precious").join("it"));
    symlink(precious.path(), &run).expect("a link can be made");
    give(&run, nobody());
    let said = refusal(&data_dir, REDIS).await;
    assert!(said.contains(&format!("{} belongs to uid {}", run.display(), nobody().0)), "{said}");
    precious.assert_untouched(&said);
    std::fs::remove_file(&run).expect("it is a link");
}
