//! Variables of Postgres's own programs, which are not for this one.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

/// Where a password is, where the URL has none: a secret need not be in a URL.
const KEPT: [&str; 2] = ["PGPASSWORD", "PGPASSFILE"];

/// Goes on without PGHOST, PGPORT, PGOPTIONS and their kin, if there are any.
///
/// The driver takes from them what a URL does not say (and of PGOPTIONS all), also on the way to a private server, and
/// cannot be told not to. A process that has threads cannot put variables out of its environment safely. So the program
/// is executed once more, as the same process: it comes back here only where there are none, or where that fails.
///
/// # Errors
/// When the program cannot be executed again.
pub fn leave_out_pg_variables() -> io::Result<()> {
    let names: Vec<OsString> = env::vars_os().map(|(name, _)| name).filter(|name| is_left_out(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut again = Command::new(env::current_exe()?);
    let mut arguments = env::args_os();
    if let Some(called) = arguments.next() {
        again.arg0(called);
    }
    again.args(arguments);
    for name in names {
        again.env_remove(name);
    }
    Err(again.exec())
}

fn is_left_out(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"PG") && !KEPT.iter().any(|kept| name == *kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_left_in() {
        for name in
            ["PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE", "PGOPTIONS", "PGAPPNAME", "PGTZ"]
        {
            assert!(is_left_out(OsStr::new(name)), "{name}");
        }
        for name in ["PGPASSWORD", "PGPASSFILE", "PATH", "NOWSERVING_DATABASE_URL", "pghost", "HOME"] {
            assert!(!is_left_out(OsStr::new(name)), "{name}");
        }
    }
}
