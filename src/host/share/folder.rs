//! A folder of the host's, and what can be done inside it and nowhere else.
//!
//! Files are reached by descriptors, one name at a time: a name is never a path, a symbolic link is
//! never followed, and what is opened by a path of several names goes through `openat2` with
//! `RESOLVE_BENEATH`. So there is nothing to check first and to use later, and renaming under our
//! feet changes which file is meant, never whether it is inside.
//!
//! A path below the folder's with `realpath` and a prefix check was rejected: it is right only
//! until somebody renames.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, PROC_SUPER_MAGIC, RenameFlags, ResolveFlags, Statx,
    StatxFlags, Timestamps, Uid,
};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::set_id;

/// Longest path below the folder in bytes. The host has no such limit, and a guest in a directory
/// needs none either; it bounds what one request costs.
pub const LONGEST_PATH: usize = 64 << 10;

/// Longest path in bytes that the host's calls take: `PATH_MAX` without its end.
const LONGEST_PIECE: usize = 4095;

/// Longest name in bytes.
const LONGEST_NAME: usize = 255;

/// A folder that cannot be shared; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder cannot be opened.
    #[error("the share {}: {error}; name a folder that this user can read", .path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// The host cannot confine a walk to the folder.
    #[error(
        "the share {}: this host cannot confine the guest to the folder (openat2: {error}); \
         it needs Linux 5.6 or newer, and a sandbox that allows the call", .path.display()
    )]
    Confine {
        /// The folder.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// The host has no `/proc`.
    #[error(
        "the share {}: /proc/self/fd: {error}; mount the proc file system, without which the \
         guest's files cannot be opened safely", .path.display()
    )]
    Proc {
        /// The folder.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
}

/// The name of an entry of a directory: never a path, never the directory itself or its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Takes a name from the guest.
    ///
    /// # Errors
    /// `ENAMETOOLONG` beyond 255 bytes; `EINVAL` for what is no name of an entry.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        if bytes.len() > LONGEST_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        let path = bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        if path || matches!(bytes, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        Ok(Name(bytes))
    }

    /// The name's bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A descriptor that names a file below the folder.
pub enum File<'a> {
    /// One that somebody holds, such as a fid.
    Held(BorrowedFd<'a>),
    /// One that was made for this use.
    Walked(OwnedFd),
}

impl AsFd for File<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            File::Held(fd) => *fd,
            File::Walked(fd) => fd.as_fd(),
        }
    }
}

/// A shared folder.
pub struct Folder {
    root: OwnedFd,
    /// `/proc/self/fd`, by whose entries a file that is only named is opened: exactly that file,
    /// whatever is at its path by now.
    descriptors: OwnedFd,
}

/// A file's type and identity, and all else that the host says of it.
pub fn stat(file: impl AsFd) -> Result<Statx, Errno> {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, flags)
}

/// The type in a file's mode.
pub fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// The file system that a file is on.
pub fn device(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

/// Names a file without opening it, below `dir` and through no link.
fn name(dir: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}

impl Folder {
    /// Opens the folder at `path`, through links if the user gave any.
    ///
    /// # Errors
    /// When it is no folder or cannot be read, or when the host lacks what confines the guest.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error: Errno| FolderError::Open {
            path: path.into(),
            error: error.into(),
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(CWD, path, flags | OFlags::RDONLY, Mode::empty());
        let root = readable
            .and_then(|fd| rustix::fs::openat(fd, c".", flags | OFlags::PATH, Mode::empty()))
            .map_err(failed)?;
        name(&root, b".").map_err(|error| FolderError::Confine {
            path: path.into(),
            error: error.into(),
        })?;
        let no_proc = |error: io::Error| FolderError::Proc {
            path: path.into(),
            error,
        };
        let flags = flags | OFlags::PATH;
        let descriptors = rustix::fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty())
            .map_err(|error| no_proc(error.into()))?;
        match rustix::fs::fstatfs(&descriptors) {
            Ok(stat) if stat.f_type == PROC_SUPER_MAGIC => Ok(Folder { root, descriptors }),
            Ok(_) => Err(no_proc(io::Error::other("not of the proc file system"))),
            Err(error) => Err(no_proc(error.into())),
        }
    }

    /// The folder, for a thread that is left nothing else.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn tree(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.root, 0)
    }

    /// The entry `child` of a directory, named and not opened.
    pub fn child(&self, dir: impl AsFd, child: Name) -> Result<OwnedFd, Errno> {
        name(dir, child.0)
    }

    /// The file at a path of names below the folder, named and not opened; the folder itself for
    /// an empty one.
    pub fn at(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut rest = path;
        let mut dir = None;
        while rest.len() > LONGEST_PIECE {
            // A name is shorter than a piece.
            let slash = rest[..=LONGEST_PIECE]
                .iter()
                .rposition(|byte| *byte == b'/');
            let (piece, after) = rest.split_at(slash.ok_or(Errno::NAMETOOLONG)?);
            dir = Some(name(dir.as_ref().unwrap_or(&self.root), piece)?);
            rest = &after[1..];
        }
        let last = if path.is_empty() { b"." } else { rest };
        name(dir.as_ref().unwrap_or(&self.root), last)
    }

    /// Opens a file that is named. The caller knows that it is a regular file or a directory: a
    /// device would be touched by opening it, and a pipe would wait.
    pub fn open_named(&self, file: BorrowedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let name = DecInt::from_fd(file);
        rustix::fs::openat(&self.descriptors, name, flags, Mode::empty())
    }

    /// A descriptor that names a file, from one that is open or from one that names it too.
    pub fn another_name(&self, file: File, open: bool) -> Result<OwnedFd, Errno> {
        match file {
            File::Walked(file) => Ok(file),
            File::Held(file) if open => self.open_named(file, OFlags::PATH),
            File::Held(file) => rustix::io::fcntl_dupfd_cloexec(file, 0),
        }
    }

    /// Makes a regular file that does not exist, and opens it.
    pub fn create(&self, dir: impl AsFd, child: Name, flags: OFlags) -> Result<OwnedFd, Errno> {
        let make = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else's until its permissions are what the guest asked for.
        rustix::fs::openat(dir, child.0, flags | make, Mode::RUSR | Mode::WUSR)
    }

    /// Makes a directory that does not exist.
    pub fn mkdir(&self, dir: impl AsFd, child: Name) -> Result<(), Errno> {
        rustix::fs::mkdirat(dir, child.0, Mode::RWXU)
    }

    /// Makes a regular file, a pipe or a socket that does not exist.
    pub fn mknod(&self, dir: impl AsFd, child: Name, kind: FileType) -> Result<(), Errno> {
        rustix::fs::mknodat(dir, child.0, kind, Mode::RUSR | Mode::WUSR, 0)
    }

    /// Makes a symbolic link with any text in it: it is the guest who follows it, never we.
    pub fn symlink(&self, dir: impl AsFd, child: Name, target: &[u8]) -> Result<(), Errno> {
        rustix::fs::symlinkat(target, dir, child.0)
    }

    /// Gives a file one more name.
    pub fn link(&self, file: BorrowedFd, dir: impl AsFd, child: Name) -> Result<(), Errno> {
        // What is followed is the entry of `/proc/self/fd`, and no link behind it.
        let (name, flags) = (DecInt::from_fd(file), AtFlags::SYMLINK_FOLLOW);
        rustix::fs::linkat(&self.descriptors, name, dir, child.0, flags)
    }

    /// Takes a name from a file, or removes an empty directory.
    pub fn unlink(&self, dir: impl AsFd, child: Name, directory: bool) -> Result<(), Errno> {
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(dir, child.0, flags)
    }

    /// Renames an entry, replacing what has the new name.
    pub fn rename(
        &self,
        (from, old): (impl AsFd, Name),
        (to, new): (impl AsFd, Name),
    ) -> Result<(), Errno> {
        rustix::fs::renameat_with(from, old.0, to, new.0, RenameFlags::empty())
    }

    /// The text of a symbolic link.
    pub fn readlink(&self, link: impl AsFd) -> Result<Vec<u8>, Errno> {
        Ok(rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes())
    }

    /// Sets the permissions of a file that is no symbolic link.
    pub fn chmod(&self, file: BorrowedFd, mode: Mode) -> Result<(), Errno> {
        let name = DecInt::from_fd(file);
        let set = || rustix::fs::chmodat(&self.descriptors, name, mode, AtFlags::empty());
        match mode.contains(Mode::SGID) {
            true => set_id::with_exception(set),
            false => set(),
        }
    }

    /// Sets owner and group.
    pub fn chown(&self, file: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)
    }

    /// Sets the times of the last read and of the last change.
    pub fn set_times(&self, file: BorrowedFd, times: &Timestamps) -> Result<(), Errno> {
        let name = DecInt::from_fd(file);
        rustix::fs::utimensat(&self.descriptors, name, times, AtFlags::empty())
    }
}
