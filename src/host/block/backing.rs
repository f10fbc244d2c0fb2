//! Which backing files an image may have, and how one is opened.
//!
//! An image names its backing file, and the guest reads what is in there. An image that somebody
//! else made could name any file of the host's, so by default only those in the image's own folder
//! are opened: by the kernel, which keeps the way to them below that folder and follows no symbolic
//! link.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

/// The rule for which backing files a disk's images may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// No backing file: an image that has one is refused.
    None,
    /// Backing files in the folder of the image that names them, or below it, without symbolic
    /// links.
    #[default]
    Beside,
    /// Every backing file that this process can read.
    Any,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::None => "none",
            Backing::Beside => "beside",
            Backing::Any => "any",
        })
    }
}

/// The text is not a rule for backing files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use none, beside or any")]
pub struct ParseBackingError;

impl FromStr for Backing {
    type Err = ParseBackingError;

    fn from_str(text: &str) -> Result<Self, ParseBackingError> {
        match text {
            "none" => Ok(Backing::None),
            "beside" => Ok(Backing::Beside),
            "any" => Ok(Backing::Any),
            _ => Err(ParseBackingError),
        }
    }
}

/// How files are opened: a pipe or a terminal must not make us wait, or become ours.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Why a backing file was not opened.
pub(super) enum Refused {
    /// The rule forbids it.
    Forbidden,
    Host(io::Error),
}

impl Backing {
    /// Opens the file that an image at `image` names, for reading. Returns its path, too.
    pub(super) fn open(self, image: &Path, name: &Path) -> Result<File, Refused> {
        let folder = folder_of(image);
        match self {
            Backing::None => Err(Refused::Forbidden),
            Backing::Any => {
                let file = open(folder.join(name), FLAGS, Mode::empty());
                Ok(file.map_err(|error| Refused::Host(error.into()))?.into())
            }
            Backing::Beside => {
                let inside = relative_to(&folder, name).ok_or(Refused::Forbidden)?;
                let file = open_beneath(&folder, &inside).map_err(|error| match error {
                    // It leads out of the folder, or over a link.
                    Errno::XDEV | Errno::LOOP => Refused::Forbidden,
                    error => Refused::Host(error.into()),
                })?;
                Ok(file.into())
            }
        }
    }
}

/// The folder that an image's names are relative to.
pub(super) fn folder_of(image: &Path) -> PathBuf {
    match image.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The name as seen from the folder, if it is one below it.
fn relative_to(folder: &Path, name: &Path) -> Option<PathBuf> {
    if name.is_relative() {
        return Some(name.to_owned());
    }
    let below = |folder: &Path| name.strip_prefix(folder).ok().map(Path::to_owned);
    let absolute = std::path::absolute(folder).ok();
    let resolved = folder.canonicalize().ok();
    absolute
        .as_deref()
        .and_then(below)
        .or_else(|| resolved.as_deref().and_then(below))
}

fn open_beneath(folder: &Path, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&folder, name, FLAGS, Mode::empty(), resolve) {
        // Before Linux 5.6, or where a sandbox does not know it.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(folder, name),
        result => result,
    }
}

/// The same, one folder after the other; stricter: `..` is refused wherever it leads.
fn step_by_step(mut folder: OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return Err(Errno::XDEV),
        }
    }
    let Some((last, folders)) = parts.split_last() else {
        return Err(Errno::ISDIR);
    };
    for part in folders {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = openat(&folder, *part, flags, Mode::empty()).map_err(|error| match error {
            // What a link that is not followed says.
            Errno::NOTDIR => Errno::LOOP,
            error => error,
        })?;
    }
    openat(&folder, *last, FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_files_below_the_folder_are_opened_and_no_links() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("images");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["images/base", "images/sub/base", "secret"] {
            fs::write(outer.path().join(name), name).unwrap();
        }
        symlink("../secret", folder.join("link")).unwrap();
        symlink("..", folder.join("out")).unwrap();
        symlink("base", folder.join("same")).unwrap();
        let image = folder.join("top.qcow2");
        let absolute = folder.join("base");
        for name in ["base", "./base", "sub/base", absolute.to_str().unwrap()] {
            assert!(
                Backing::Beside.open(&image, Path::new(name)).is_ok(),
                "{name}"
            );
            let start = openat(CWD, &folder, OFlags::PATH, Mode::empty()).unwrap();
            let inside = relative_to(&folder, Path::new(name)).unwrap();
            assert!(step_by_step(start, &inside).is_ok(), "{name}");
        }
        let secret = outer.path().join("secret");
        for name in [
            "../secret",
            "link",
            "out/secret",
            "same",
            secret.to_str().unwrap(),
        ] {
            let refused = Backing::Beside.open(&image, Path::new(name));
            assert!(matches!(refused, Err(Refused::Forbidden)), "{name}");
            assert!(Backing::Any.open(&image, Path::new(name)).is_ok(), "{name}");
            let start = openat(CWD, &folder, OFlags::PATH, Mode::empty()).unwrap();
            let refused = step_by_step(start, Path::new(name)).unwrap_err();
            assert!(
                matches!(refused, Errno::XDEV | Errno::LOOP),
                "{name}: {refused}"
            );
        }
        let refused = Backing::None.open(&image, Path::new("base"));
        assert!(matches!(refused, Err(Refused::Forbidden)));
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for rule in [Backing::None, Backing::Beside, Backing::Any] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!("all".parse::<Backing>(), Err(ParseBackingError));
    }
}
