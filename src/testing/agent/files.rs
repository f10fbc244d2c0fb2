//! Files and folders into the guest and out of it, with modes and symbolic links.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::AgentError;
use super::command::guest_path;
use super::link::{AgentLink, unexpected};
use super::protocol::{MOST_DATA, WINDOW, number};

/// The bits of a mode that are kept; set-id bits are not.
const PERMISSIONS: u32 = 0o777;

fn host(path: &Path) -> impl FnOnce(io::Error) -> AgentError {
    let path = path.to_owned();
    move |error| AgentError::Host { path, error }
}

impl AgentLink {
    /// Copies a file, or a folder and all below it, to a path in the guest, whose folders are made.
    /// What is there already is replaced, folders are kept. All of it belongs to root.
    ///
    /// # Errors
    /// A path that cannot be used, and what either kernel refuses.
    pub fn copy_in(&mut self, from: &Path, to: &Path) -> Result<(), AgentError> {
        let metadata = std::fs::metadata(from).map_err(host(from))?;
        let mut folders: Vec<&Path> = to.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders
            .into_iter()
            .filter(|folder| *folder != Path::new("/"))
        {
            self.make_folder(folder, 0o755)?;
        }
        self.put(from, &metadata, to)
    }

    fn put(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> Result<(), AgentError> {
        let mode = metadata.permissions().mode() & PERMISSIONS;
        if metadata.is_file() {
            let file = File::open(from).map_err(host(from))?;
            return self.put_file(from, file, mode, to);
        }
        if metadata.is_symlink() {
            let target = std::fs::read_link(from).map_err(host(from))?;
            let (path, target) = (guest_path(to.as_os_str())?, target.into_os_string());
            self.send(b'L', &[&path, &[0], target.as_bytes()])?;
            return self.done();
        }
        if !metadata.is_dir() {
            let why = "neither a file, a folder nor a symbolic link; leave it out";
            return Err(super::command::path_error(from.as_os_str(), why));
        }
        self.make_folder(to, mode)?;
        for entry in std::fs::read_dir(from).map_err(host(from))? {
            let path = entry.map_err(host(from))?.path();
            let metadata = std::fs::symlink_metadata(&path).map_err(host(&path))?;
            self.put(
                &path,
                &metadata,
                &to.join(path.file_name().unwrap_or_default()),
            )?;
        }
        Ok(())
    }

    fn make_folder(&mut self, path: &Path, mode: u32) -> Result<(), AgentError> {
        if path == Path::new("/") {
            return Ok(());
        }
        self.send(b'D', &[&mode.to_be_bytes(), &guest_path(path.as_os_str())?])?;
        self.done()
    }

    /// Writes a file in the guest; `name` is what messages call the reader.
    ///
    /// # Errors
    /// A path that cannot be used, and what the reader or the guest's kernel refuses.
    pub fn put_file(
        &mut self,
        name: &Path,
        mut from: impl Read,
        mode: u32,
        to: &Path,
    ) -> Result<(), AgentError> {
        self.send(b'F', &[&mode.to_be_bytes(), &guest_path(to.as_os_str())?])?;
        self.done()?;
        let mut buffer = vec![0; MOST_DATA];
        let mut room = WINDOW;
        let failed = loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(host(name)(error)),
            };
            while room < count {
                match self.taken() {
                    Ok(taken) => room += taken,
                    Err(error @ AgentError::Guest { .. }) => {
                        self.send(b'E', &[])?;
                        return Err(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.send(b'W', &[&buffer[..count]])?;
            room -= count;
        };
        self.send(b'E', &[])?;
        while room < WINDOW {
            room += self.taken()?;
        }
        self.done()?;
        failed.map_or(Ok(()), Err)
    }

    /// How many bytes of a file the guest has taken in addition.
    fn taken(&mut self) -> Result<usize, AgentError> {
        let message = self.next()?;
        match (message.kind, number(message.body)?) {
            (b'c', (count, _)) if count as usize <= WINDOW => Ok(count as usize),
            _ => Err(unexpected()),
        }
    }

    /// Reads a file in the guest.
    ///
    /// # Errors
    /// A path that cannot be used or is a folder, and what the guest's kernel refuses.
    pub fn read_file(&mut self, from: &Path, to: &mut dyn Write) -> Result<(), AgentError> {
        self.send(b'G', &[&guest_path(from.as_os_str())?])?;
        let mut is_file = true;
        loop {
            let message = self.next()?;
            match message.kind {
                b'r' => {}
                b'w' if is_file => to.write_all(message.body).map_err(host(from))?,
                b'd' => is_file = false,
                b'w' | b'l' | b's' if !is_file => {}
                b'k' if is_file => return Ok(()),
                b'k' => {
                    let why = "in the guest, it is a folder and no file";
                    return Err(super::command::path_error(from.as_os_str(), why));
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Copies a file, or a folder and all below it, out of the guest. What is there already is
    /// replaced, folders are kept; what belongs to whom is the host's to say, set-id bits are dropped,
    /// and a folder of the guest's can be written by its owner. Nothing is written outside `to`,
    /// whatever the guest says. What is neither file, folder nor link is left out with a warning.
    ///
    /// # Errors
    /// A path that cannot be used, and what either kernel refuses.
    pub fn copy_out(&mut self, from: &Path, to: &Path) -> Result<(), AgentError> {
        self.send(b'G', &[&guest_path(from.as_os_str())?])?;
        let mut tree = OutTree {
            top: to.to_owned(),
            folder: None,
            file: None,
        };
        loop {
            let message = self.next()?;
            let body = message.body;
            match message.kind {
                b'd' | b'r' => {
                    let (mode, path) = number(body)?;
                    match message.kind {
                        b'd' => tree.folder(below(path)?, mode)?,
                        _ => tree.file(below(path)?, mode)?,
                    }
                }
                b'w' => tree.write(body)?,
                b'l' => {
                    let end = body
                        .iter()
                        .position(|byte| *byte == 0)
                        .ok_or_else(unexpected)?;
                    tree.link(below(&body[..end])?, &body[end + 1..])?;
                }
                b's' => {
                    let path = from.join(below(body)?);
                    let path = path.display().to_string();
                    tracing::warn!(
                        "{} is neither a file, a folder nor a link, and is not copied",
                        path.escape_debug()
                    );
                }
                b'k' => return tree.finish(),
                _ => return Err(unexpected()),
            }
        }
    }
}

/// A path that a guest says, which must stay below where it begins.
fn below(path: &[u8]) -> Result<&Path, AgentError> {
    let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    match path.is_empty() || path.split(|byte| *byte == b'/').all(is_plain) {
        true => Ok(Path::new(OsStr::from_bytes(path))),
        false => Err(AgentError::Broken {
            why: "its path leads elsewhere",
        }),
    }
}

/// What is copied out of a guest, at the host.
struct OutTree {
    top: PathBuf,
    /// The top, where it is a folder.
    folder: Option<OwnedFd>,
    /// The file that is being written, and its mode.
    file: Option<(File, PathBuf, u32)>,
}

impl OutTree {
    fn failed(&self, path: &Path) -> impl FnOnce(Errno) -> AgentError {
        let path = match path.as_os_str().is_empty() {
            true => self.top.clone(),
            false => self.top.join(path),
        };
        move |error| AgentError::Host {
            path,
            error: error.into(),
        }
    }

    /// The folder that a path below the top is in, which no link leads to.
    fn parent(&self, path: &Path) -> Result<OwnedFd, AgentError> {
        let top = self.folder.as_ref().ok_or_else(unexpected)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(top, parent, flags, Mode::empty(), resolve).map_err(self.failed(path))
    }

    fn folder(&mut self, path: &Path, mode: u32) -> Result<(), AgentError> {
        self.finish_file()?;
        let mode = Mode::from_raw_mode(mode & PERMISSIONS | 0o700);
        let made = match path.as_os_str().is_empty() {
            true => mkdirat(CWD, &self.top, mode),
            false => mkdirat(self.parent(path)?, name(path), mode),
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed(path)(error)),
        }
        if path.as_os_str().is_empty() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(CWD, &self.top, flags, Mode::empty());
            self.folder = Some(opened.map_err(self.failed(path))?);
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, mode: u32) -> Result<(), AgentError> {
        self.finish_file()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let own = Mode::RUSR | Mode::WUSR;
        let opened = match path.as_os_str().is_empty() {
            true => openat(CWD, &self.top, flags | OFlags::TRUNC, own),
            false => {
                let parent = self.parent(path)?;
                self.remove(&parent, path)?;
                openat(
                    parent,
                    name(path),
                    flags | OFlags::EXCL | OFlags::NOFOLLOW,
                    own,
                )
            }
        };
        let file = opened.map_err(self.failed(path))?;
        self.file = Some((file.into(), path.to_owned(), mode & PERMISSIONS));
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &[u8]) -> Result<(), AgentError> {
        self.finish_file()?;
        let parent = self.parent(path)?;
        self.remove(&parent, path)?;
        symlinkat(OsStr::from_bytes(target), parent, name(path)).map_err(self.failed(path))
    }

    fn remove(&self, parent: &OwnedFd, path: &Path) -> Result<(), AgentError> {
        match unlinkat(parent, name(path), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed(path)(error)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        let (file, path, _) = self.file.as_mut().ok_or_else(unexpected)?;
        let written = file.write_all(bytes);
        let path = path.clone();
        written.map_err(|error| AgentError::Host {
            path: self.top.join(path),
            error,
        })
    }

    fn finish_file(&mut self) -> Result<(), AgentError> {
        let Some((file, path, mode)) = self.file.take() else {
            return Ok(());
        };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(self.failed(&path))
    }

    fn finish(mut self) -> Result<(), AgentError> {
        self.finish_file()
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_guests_stays_below() {
        for path in ["", "a", "a/b", "..a/b.."] {
            assert_eq!(below(path.as_bytes()).unwrap(), Path::new(path));
        }
        for path in ["/", "/a", "..", "a/../b", "./a", "a//b", "a/", "a\0b"] {
            assert!(below(path.as_bytes()).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_link_of_the_guests_leads_nothing_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let mut tree = OutTree {
            top: folder.path().join("top"),
            folder: None,
            file: None,
        };
        assert!(
            tree.file(Path::new("early"), 0o644).is_err(),
            "no folder yet"
        );
        tree.folder(Path::new(""), 0o755).unwrap();
        tree.link(Path::new("link"), b"../outside").unwrap();
        assert!(tree.file(Path::new("link/kept"), 0o644).is_err());
        assert!(tree.folder(Path::new("link/new"), 0o755).is_err());
        // The link itself is replaced, and what it leads to is not written.
        tree.link(Path::new("file"), b"../outside/kept").unwrap();
        tree.file(Path::new("file"), 0o4755).unwrap();
        tree.write(b"new").unwrap();
        tree.finish().unwrap();
        let written = folder.path().join("top/file");
        assert_eq!(std::fs::read(&written).unwrap(), b"new");
        let mode = std::fs::symlink_metadata(&written)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
        assert!(!outside.join("new").exists());
    }
}
