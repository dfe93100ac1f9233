//! The lock file beside a database: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::store::{Result, StoreError};

/// An exclusive lock, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `<database>.lock` and writes our process id into it.
    ///
    /// # Errors
    /// [`StoreError::Held`] with the holder's process id, [`StoreError::Failed`] where the file cannot be made.
    pub fn take(database: &Path) -> Result<Self> {
        let path = path(database);
        let fail = |e: std::io::Error| StoreError::Failed { doing: "locking", why: format!("{}: {e}", path.display()) };
        let mut file = private().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(database, &mut file)),
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        write!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn held(database: &Path, file: &mut File) -> StoreError {
    let mut holder = String::new();
    // The holder writes its id just after it got the lock: for an instant there may be nothing to read.
    if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
        "unknown".clone_into(&mut holder);
    }
    StoreError::Held { path: database.display().to_string(), holder }
}

/// Options that create a file only its owner can read.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
