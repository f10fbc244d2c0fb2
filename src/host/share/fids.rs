//! Fids: the numbers by which the guest calls the files that it knows.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use super::directory::Directory;
use super::folder::{File, Folder, LONGEST_PATH, Name, device, file_type, stat};
use crate::host::descriptors::Descriptors;

/// How much of the host a guest may hold through one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fids.
    pub fids: usize,
    /// Descriptors. A fid beyond them is a path until it is used.
    pub descriptors: usize,
    /// Descriptors that all devices have together.
    pub process: Descriptors,
    /// Bytes of all fids' paths.
    pub path_bytes: usize,
}

impl Limits {
    /// What suits this process: what any device may hold of the files that it may open, and no
    /// more than 32,768.
    pub fn of_this_process() -> Self {
        let process = Descriptors::of_process();
        Limits {
            fids: 256 << 10,
            descriptors: process.half().min(32 << 10),
            process,
            path_bytes: 64 << 20,
        }
    }
}

/// A file's identity, by which it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    ino: u64,
}

impl Identity {
    fn of(stat: &Statx) -> Self {
        Identity {
            device: device(stat),
            ino: stat.stx_ino,
        }
    }
}

/// A file that fids are, once for all fids of it.
struct Known {
    identity: Identity,
    kind: FileType,
    /// The guest took a name from it, so that another file of that name is another file to the
    /// guest as well.
    unnamed: AtomicBool,
}

impl Known {
    fn of(stat: &Statx) -> Self {
        Known {
            identity: Identity::of(stat),
            kind: file_type(stat),
            unnamed: AtomicBool::new(false),
        }
    }

    /// Whether a fid of this file is, from now on, the file of `stat`, which has its name.
    fn gives_way_to(&self, stat: &Statx) -> bool {
        // A file of another type would not be what the guest's kernel takes it for.
        !self.unnamed.load(Ordering::Relaxed) && self.kind == file_type(stat)
    }
}

/// What a fid holds of the host's.
pub enum Hold {
    /// Nothing: its path is walked when it is used.
    Path,
    /// A descriptor that only names the file, for when its path leads there no more.
    Named(OwnedFd),
    /// An open file.
    File(OwnedFd),
    /// An open directory.
    Directory(Directory),
}

/// A file that the guest knows.
pub struct Fid {
    /// Names from the folder to it with `/` between them; empty for the folder.
    pub path: Vec<u8>,
    /// Who walks here, as the attach said.
    pub uid: u32,
    known: Arc<Known>,
    /// What it holds.
    pub hold: Hold,
}

impl Fid {
    /// A fid for the file that `file` names.
    pub fn new(path: Vec<u8>, uid: u32, file: OwnedFd, stat: &Statx) -> Self {
        Fid {
            path,
            uid,
            known: Arc::new(Known::of(stat)),
            hold: Hold::Named(file),
        }
    }

    /// Whether it was opened.
    pub fn is_open(&self) -> bool {
        matches!(self.hold, Hold::File(_) | Hold::Directory(_))
    }

    /// The path of an entry of this directory.
    ///
    /// # Errors
    /// `ENAMETOOLONG` beyond [`LONGEST_PATH`].
    pub fn path_of(&self, name: Name) -> Result<Vec<u8>, Errno> {
        join(&self.path, name)
    }

    /// A descriptor of the file, to name it.
    ///
    /// A fid that is not open is what its name leads to, as a path in the guest is: when the host
    /// replaces a file, a guest that still has the old one open finds the new one by its name. It
    /// stays the file that it was when nothing has its name, when something of another type has
    /// it, and when it was the guest who took the name away.
    ///
    /// # Errors
    /// `ESTALE` when the file is not held and its name leads to another; else what the host says.
    pub fn file(&self, folder: &Folder) -> Result<File<'_>, Errno> {
        let held = match &self.hold {
            Hold::File(fd) => return Ok(File::Held(fd.as_fd())),
            Hold::Directory(directory) => return Ok(File::Held(directory.fd().as_fd())),
            // The folder itself has no name.
            Hold::Named(fd) if self.path.is_empty() => return Ok(File::Held(fd.as_fd())),
            Hold::Named(fd) => Some(fd.as_fd()),
            Hold::Path => None,
        };
        let named = folder.at(&self.path).and_then(|file| {
            let stat = stat(&file)?;
            match Identity::of(&stat) == self.known.identity || self.known.gives_way_to(&stat) {
                true => Ok(file),
                false => Err(Errno::STALE),
            }
        });
        match (named, held) {
            (Ok(file), _) => Ok(File::Walked(file)),
            (Err(_), Some(held)) => Ok(File::Held(held)),
            (Err(error), None) => Err(error),
        }
    }

    /// Whether `file` is the file that this fid was made of.
    pub fn is(&self, file: impl AsFd) -> Result<bool, Errno> {
        Ok(Identity::of(&stat(file)?) == self.known.identity)
    }
}

/// The path of an entry of the directory at `path`.
///
/// # Errors
/// `ENAMETOOLONG` beyond [`LONGEST_PATH`].
pub fn join(path: &[u8], name: Name) -> Result<Vec<u8>, Errno> {
    let mut path = path.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.bytes());
    match path.len() > LONGEST_PATH {
        true => Err(Errno::NAMETOOLONG),
        false => Ok(path),
    }
}

/// Parent and last name of a path; nothing for the empty one.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((&[], path)),
    }
}

/// What follows `above` in the path of something below it; empty for `above` itself.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(above)?;
    (rest.is_empty() || rest[0] == b'/').then_some(rest)
}

/// All fids of a session, within limits.
pub struct Fids {
    fids: HashMap<u32, Fid>,
    known: HashMap<Identity, Arc<Known>>,
    limits: Limits,
    descriptors: usize,
    path_bytes: usize,
}

impl Fids {
    /// No fids.
    pub fn new(limits: Limits) -> Self {
        Fids {
            fids: HashMap::new(),
            known: HashMap::new(),
            limits,
            descriptors: 0,
            path_bytes: 0,
        }
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        *self = Fids::new(self.limits);
    }

    /// The fid that the guest calls `number`; `EBADF` when there is none.
    pub fn get(&self, number: u32) -> Result<&Fid, Errno> {
        self.fids.get(&number).ok_or(Errno::BADF)
    }

    /// Returns a fid as [`get`](Self::get) does, for reading a directory.
    pub fn directory(&mut self, number: u32) -> Result<&mut Directory, Errno> {
        match self.fids.get_mut(&number) {
            Some(Fid {
                hold: Hold::Directory(directory),
                ..
            }) => Ok(directory),
            Some(_) | None => Err(Errno::BADF),
        }
    }

    /// Whether `number` is taken.
    pub fn contains(&self, number: u32) -> bool {
        self.fids.contains_key(&number)
    }

    /// Adds a fid, or replaces one.
    ///
    /// # Errors
    /// `ENFILE` when the guest has as many as it may have.
    pub fn insert(&mut self, number: u32, mut fid: Fid) -> Result<(), Errno> {
        let old = self.fids.get(&number);
        let replaced = old.map_or(0, |old| old.path.len());
        let path_bytes = self.path_bytes - replaced + fid.path.len();
        if (old.is_none() && self.fids.len() >= self.limits.fids)
            || path_bytes > self.limits.path_bytes
        {
            return Err(Errno::NFILE);
        }
        self.remove(number);
        match self.admit(&fid.hold) {
            Ok(()) if matches!(fid.hold, Hold::Path) => {}
            Ok(()) => self.descriptors += 1,
            Err(_) => fid.hold = Hold::Path,
        }
        self.path_bytes = path_bytes;
        fid.known = self.know(fid.known);
        self.fids.insert(number, fid);
        Ok(())
    }

    /// Whether one more fid may hold this.
    ///
    /// # Errors
    /// `EMFILE` when the guest, or the process, has as many descriptors as it may have.
    fn admit(&self, hold: &Hold) -> Result<(), Errno> {
        let fd = match hold {
            Hold::Path => return Ok(()),
            Hold::Named(fd) | Hold::File(fd) => fd.as_fd(),
            Hold::Directory(directory) => directory.fd().as_fd(),
        };
        if self.descriptors >= self.limits.descriptors {
            return Err(Errno::MFILE);
        }
        let admitted = self.limits.process.admit(fd);
        admitted.map(drop).map_err(|_| Errno::MFILE)
    }

    /// The one of this file that all its fids share.
    fn know(&mut self, file: Arc<Known>) -> Arc<Known> {
        self.known.entry(file.identity).or_insert(file).clone()
    }

    /// A fid is a file no more.
    fn forget(&mut self, file: &Arc<Known>) {
        // The fid's and the map's.
        if Arc::strong_count(file) == 2 {
            self.known.remove(&file.identity);
        }
    }

    /// The guest took a name from the file of `stat`: its fids are it from now on, whatever has
    /// that name.
    pub fn unnamed(&self, stat: &Statx) {
        if let Some(file) = self.known.get(&Identity::of(stat)) {
            file.unnamed.store(true, Ordering::Relaxed);
        }
    }

    /// Makes a fid an open one, of the file of `stat`, and what it was before a descriptor less.
    ///
    /// # Errors
    /// `EMFILE` when the guest has as many open files as it may have.
    pub fn open(&mut self, number: u32, stat: &Statx, hold: Hold) -> Result<(), Errno> {
        let held = !matches!(self.get(number)?.hold, Hold::Path);
        // It has one already, which the new one replaces.
        self.descriptors -= usize::from(held);
        let admitted = self.admit(&hold);
        self.descriptors += usize::from(held || admitted.is_ok());
        admitted?;
        let fid = self.fids.get_mut(&number).ok_or(Errno::BADF)?;
        fid.hold = hold;
        if fid.known.identity != Identity::of(stat) {
            let now = self.know(Arc::new(Known::of(stat)));
            if let Some(fid) = self.fids.get_mut(&number) {
                let before = std::mem::replace(&mut fid.known, now);
                self.forget(&before);
            }
        }
        Ok(())
    }

    /// Moves a fid to another file, which it has open: what a create does with its directory's.
    pub fn replace(
        &mut self,
        number: u32,
        path: Vec<u8>,
        stat: &Statx,
        hold: Hold,
    ) -> Result<(), Errno> {
        let fid = self.fids.get(&number).ok_or(Errno::BADF)?;
        let path_bytes = self.path_bytes - fid.path.len() + path.len();
        if path_bytes > self.limits.path_bytes {
            return Err(Errno::NFILE);
        }
        self.open(number, stat, hold)?;
        self.path_bytes = path_bytes;
        if let Some(fid) = self.fids.get_mut(&number) {
            fid.path = path;
        }
        Ok(())
    }

    /// Forgets a fid.
    pub fn remove(&mut self, number: u32) -> Option<Fid> {
        let fid = self.fids.remove(&number)?;
        self.path_bytes -= fid.path.len();
        if !matches!(fid.hold, Hold::Path) {
            self.descriptors -= 1;
        }
        self.forget(&fid.known);
        Some(fid)
    }

    /// Whether what is at `old`, or below it, can be at `new`.
    ///
    /// # Errors
    /// `ENAMETOOLONG` when a fid's path would be beyond [`LONGEST_PATH`], and `ENFILE` when all
    /// of them would be more than the guest may have.
    pub fn may_be_renamed(&self, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        let mut path_bytes = self.path_bytes;
        for rest in self.fids.values().filter_map(|fid| below(&fid.path, old)) {
            let length = new.len() + rest.len();
            if length > LONGEST_PATH {
                return Err(Errno::NAMETOOLONG);
            }
            path_bytes = path_bytes - old.len() + new.len();
        }
        match path_bytes > self.limits.path_bytes {
            true => Err(Errno::NFILE),
            false => Ok(()),
        }
    }

    /// What was at `old`, or below it, is at `new` now.
    pub fn renamed(&mut self, old: &[u8], new: &[u8]) {
        for fid in self.fids.values_mut() {
            if let Some(rest) = below(&fid.path, old) {
                let path = [new, rest].concat();
                self.path_bytes = self.path_bytes - fid.path.len() + path.len();
                fid.path = path;
            }
        }
    }
}
