//! Where templates and throwaway data live, and who owns them.
//!
//! Invariant: a server started by root runs as another user, and each directory it uses can be
//! reached by that user.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Product, ServerError, While};

/// Less room than this in memory, and the data goes to the disk: containers often have 64 MiB.
const MEMORY_MIN: u64 = 1 << 30;

/// What is made once and kept: `$CROSSFADE_CACHE`, else a place of root's, else one of the user's.
#[must_use]
pub fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("CROSSFADE_CACHE") {
        return cache.into();
    }
    if is_root() {
        // Not below /root, which the servers' users may not enter.
        return "/var/cache/crossfade".into();
    }
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(env::temp_dir).join("crossfade")
}

/// An empty directory of the server's user, in memory unless the data has to survive a crash.
pub(super) fn fresh(product: Product, durable: bool, serial: &str) -> Result<PathBuf, ServerError> {
    let parent = match fast() {
        Some(memory) if !durable => memory,
        _ => cache().join("run"),
    };
    fs::create_dir_all(&parent).during("make the cache directory")?;
    let directory = parent.join(format!("crossfade-{serial}"));
    fs::create_dir(&directory).during("make a server's directory")?;
    give(&directory, product)?;
    Ok(directory)
}

/// `/dev/shm`, where it has room.
fn fast() -> Option<PathBuf> {
    let df = Command::new("df").args(["--output=avail", "-B1", "/dev/shm"]).output().ok()?;
    let text = String::from_utf8(df.stdout).ok()?;
    let free: u64 = text.lines().nth(1)?.trim().parse().ok()?;
    (MEMORY_MIN <= free).then(|| "/dev/shm".into())
}

/// Makes the server's user the owner, where we are root.
pub(super) fn give(path: &Path, product: Product) -> Result<(), ServerError> {
    let Some((uid, gid)) = owner(product) else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).during("change a directory's owner")
}

/// Runs the command as the server's user, where we are root. Supplementary groups go as well.
pub(super) fn as_owner(command: &mut Command, product: Product) {
    if let Some((uid, gid)) = owner(product) {
        command.uid(uid).gid(gid);
    }
}

/// The user a server started by root runs as; packages of the server alone make none for MariaDB.
fn owner(product: Product) -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((ids.next()?, ids.next()?))
    };
    find(product.owner()).or_else(|| find("nobody")).or(Some((65534, 65534)))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
