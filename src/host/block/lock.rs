//! Locks on images, so that two machines never write to one.
//!
//! The protocol is QEMU's (its `block/file-posix.c`), with open-file-description locks, so that
//! QEMU, `qemu-img` and this launcher respect each other: a shared lock on byte 100 + n says "I use
//! permission n", one on byte 200 + n says "nobody else may use permission n". Nobody takes an
//! exclusive lock; a conflict is found by asking whether one could be had. Two that start at the
//! same time may both be refused, but never both succeed.

use std::fs::File;
use std::io;
use std::ops::Deref;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Bytes that stand for the use of a permission.
const USED: i64 = 100;
/// Bytes that stand for a permission that others may not use.
const NOT_SHARED: i64 = 200;

// Permissions, by number.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What neither a reader nor a writer lets others do.
const NEVER_SHARED: [i64; 2] = [WRITE, RESIZE];

/// How a machine uses an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Reads it; so may others, and nobody may write.
    Read,
    /// Reads and writes it; others who want to read what stays as it is may not.
    Write,
}

/// Why a lock cannot be had.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another writes to the image.
    Written,
    /// Others read the image.
    Read,
    /// The host cannot lock the file.
    Host(io::Error),
}

/// An image's file, whose lock ends with it.
///
/// The lock itself lives as long as any copy of the descriptor, and a process that another thread
/// forks has one until it executes its program. So the lock is given up here and not by closing.
#[derive(Debug)]
pub(super) struct ImageFile(File);

impl ImageFile {
    /// A file that nobody else can reach, or that is not locked yet.
    pub fn new(file: File) -> Self {
        ImageFile(file)
    }

    /// Locks it.
    pub fn lock(&self, usage: Use) -> Result<(), Refused> {
        lock(&self.0, usage)
    }
}

impl Deref for ImageFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        let all = libc::flock {
            l_len: 0,
            ..byte(libc::F_UNLCK, 0)
        };
        // A file that cannot be locked cannot be unlocked either.
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&all));
    }
}

fn lock(file: &File, usage: Use) -> Result<(), Refused> {
    let used: &[i64] = match usage {
        Use::Read => &[CONSISTENT_READ],
        Use::Write => &[CONSISTENT_READ, WRITE, RESIZE],
    };
    for permission in used {
        share(file, USED + permission)?;
    }
    for permission in NEVER_SHARED {
        share(file, NOT_SHARED + permission)?;
    }
    // Who uses what this one cannot share?
    if taken(file, USED + WRITE)? {
        return Err(Refused::Written);
    }
    for permission in used {
        if taken(file, NOT_SHARED + permission)? {
            return Err(Refused::Read);
        }
    }
    Ok(())
}

fn byte(kind: i32, at: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

fn share(file: &File, at: i64) -> Result<(), Refused> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_RDLCK, at))) {
        Ok(_) => Ok(()),
        // Somebody holds an exclusive lock, which only a writer has reason for.
        Err(Errno::EAGAIN | Errno::EACCES) => Err(Refused::Written),
        Err(error) => Err(Refused::Host(error.into())),
    }
}

/// Whether another open file description has a lock on the byte.
fn taken(file: &File, at: i64) -> Result<bool, Refused> {
    let mut lock = byte(libc::F_WRLCK, at);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|error| Refused::Host(error.into()))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(&image).unwrap();
        let take = |usage| {
            let file = ImageFile::new(open());
            file.lock(usage).map(|()| file)
        };

        let writer = take(Use::Write).unwrap();
        assert!(matches!(take(Use::Write), Err(Refused::Written)));
        assert!(matches!(take(Use::Read), Err(Refused::Written)));
        drop(writer);

        let readers = [take(Use::Read).unwrap(), take(Use::Read).unwrap()];
        assert!(matches!(take(Use::Write), Err(Refused::Read)));
        drop(readers);
        take(Use::Write).unwrap();
    }

    #[test]
    fn a_copy_that_a_forked_child_holds_keeps_no_lock() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            let file = File::options().read(true).write(true).open(&image);
            ImageFile::new(file.unwrap())
        };
        let (writer, other) = (open(), open());
        writer.lock(Use::Write).unwrap();
        // The same open file description, as after a fork.
        let copy = writer.try_clone().unwrap();
        assert!(other.lock(Use::Read).is_err());
        drop(writer);
        other.lock(Use::Read).unwrap();
        drop(other);
        // One that was refused leaves nothing behind.
        let (reader, refused) = (open(), open());
        reader.lock(Use::Read).unwrap();
        let second = refused.try_clone().unwrap();
        assert!(refused.lock(Use::Write).is_err());
        drop((refused, reader));
        open().lock(Use::Write).unwrap();
        drop((copy, second));
    }
}
