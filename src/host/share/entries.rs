//! Requests about entries of directories: make, link, rename, remove.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use super::fids::{Hold, split};
use super::files::host_flags;
use super::folder::{Name, file_type, stat};
use super::server::{Done, Server};
use super::wire::{NO_ID, Reply, kind, open};

/// `Tunlinkat`: the entry is a directory.
const REMOVEDIR: u32 = 0x200;

/// Who a new file belongs to, and who may do what.
struct Ownership {
    uid: u32,
    gid: u32,
    /// None for a symbolic link, which has no permissions.
    mode: Option<u32>,
}

impl Server {
    /// Makes a file in the directory that `fid` is, opens it, and makes `fid` that file.
    pub(super) fn create(
        &mut self,
        fid: u32,
        name: &[u8],
        flags: u32,
        mode: u32,
        gid: u32,
        reply: &mut Reply,
    ) -> Done {
        self.writable()?;
        let (name, host) = (Name::new(name)?, host_flags(flags)?);
        let dir = self.fids.get(fid)?;
        if dir.is_open() {
            return Err(Errno::BUSY);
        }
        let path = dir.path_of(name)?;
        let at = dir.file(&self.folder)?;
        let ownership = Ownership {
            uid: dir.uid,
            gid,
            mode: Some(mode),
        };
        let file = match self.folder.create(&at, name, host) {
            Ok(file) => {
                self.settle(&at, name, &file, &ownership)?;
                file
            }
            Err(Errno::EXIST) if flags & open::EXCL == 0 => {
                let file = self.folder.child(&at, name)?;
                match file_type(&stat(&file)?) {
                    FileType::RegularFile => {
                        let open = || self.folder.open_named(file.as_fd(), host);
                        self.set_id(dir.uid).contents(open)?
                    }
                    _ => return Err(Errno::EXIST),
                }
            }
            Err(error) => return Err(error),
        };
        drop(at);
        let stat = stat(&file)?;
        self.fids.replace(fid, path, &stat, Hold::File(file))?;
        reply.qid(self.devices.qid(&stat));
        reply.u32(0);
        Ok(kind::LCREATE + 1)
    }

    /// Gives a new file its owner and its permissions, which this process's mask has not cut, and
    /// takes it away again where that fails.
    fn settle(
        &self,
        dir: impl AsFd,
        name: Name,
        file: impl AsFd,
        to: &Ownership,
    ) -> Result<(), Errno> {
        let settled = || {
            if self.options.give_away {
                let known = |id: u32| (id != NO_ID).then_some(id);
                self.folder.chown(&file, known(to.uid), known(to.gid))?;
            }
            if let Some(mode) = to.mode {
                let mode = self
                    .set_id(to.uid)
                    .permissions(mode, file_type(&stat(&file)?));
                self.folder.chmod(file.as_fd(), mode)?;
            }
            Ok(())
        };
        settled().inspect_err(|_| {
            let directory = stat(&file).is_ok_and(|stat| file_type(&stat) == FileType::Directory);
            // The error that is answered is the one that came first.
            let _ = self.folder.unlink(&dir, name, directory);
        })
    }

    /// Makes an entry with `make`, gives it its owner and permissions, and puts its qid.
    fn make(
        &mut self,
        dir: u32,
        name: &[u8],
        (gid, mode): (u32, Option<u32>),
        reply: &mut Reply,
        make: impl FnOnce(&Self, BorrowedFd, Name) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.writable()?;
        let name = Name::new(name)?;
        let dir = self.fids.get(dir)?;
        let at = dir.file(&self.folder)?;
        make(self, at.as_fd(), name)?;
        let (file, stat) = self.entry(&at, name)?;
        let uid = dir.uid;
        self.settle(&at, name, &file, &Ownership { uid, gid, mode })?;
        drop(at);
        reply.qid(self.devices.qid(&stat));
        Ok(())
    }

    fn entry(&self, dir: impl AsFd, name: Name) -> Result<(OwnedFd, Statx), Errno> {
        let file = self.folder.child(dir, name)?;
        let stat = stat(&file)?;
        Ok((file, stat))
    }

    pub(super) fn mkdir(
        &mut self,
        dir: u32,
        name: &[u8],
        mode: u32,
        gid: u32,
        reply: &mut Reply,
    ) -> Done {
        self.make(dir, name, (gid, Some(mode)), reply, |server, at, name| {
            server.folder.mkdir(at, name)
        })?;
        Ok(kind::MKDIR + 1)
    }

    pub(super) fn symlink(
        &mut self,
        dir: u32,
        name: &[u8],
        target: &[u8],
        gid: u32,
        reply: &mut Reply,
    ) -> Done {
        self.make(dir, name, (gid, None), reply, |server, at, name| {
            server.folder.symlink(at, name, target)
        })?;
        Ok(kind::SYMLINK + 1)
    }

    /// Regular files, pipes and sockets are only names to the host. A device would be the host's
    /// own, open to whoever may open the file there, so the guest makes none.
    pub(super) fn mknod(
        &mut self,
        dir: u32,
        name: &[u8],
        mode: u32,
        gid: u32,
        reply: &mut Reply,
    ) -> Done {
        let file = match FileType::from_raw_mode(mode) {
            file @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => file,
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ if mode & !0o7777 == 0 => FileType::RegularFile,
            _ => return Err(Errno::INVAL),
        };
        self.make(dir, name, (gid, Some(mode)), reply, |server, at, name| {
            server.folder.mknod(at, name, file)
        })?;
        Ok(kind::MKNOD + 1)
    }

    pub(super) fn link(&mut self, dir: u32, fid: u32, name: &[u8]) -> Done {
        self.writable()?;
        let name = Name::new(name)?;
        let to = self.fids.get(dir)?.file(&self.folder)?;
        let file = self.fids.get(fid)?.file(&self.folder)?;
        self.folder.link(file.as_fd(), to, name)?;
        Ok(kind::LINK + 1)
    }

    /// Notes that the guest took the name of an entry, if there was one.
    fn lost_its_name(&self, entry: Result<(OwnedFd, Statx), Errno>) {
        if let Ok((_, stat)) = entry {
            self.fids.unnamed(&stat);
        }
    }

    pub(super) fn unlinkat(&mut self, dir: u32, name: &[u8], flags: u32) -> Done {
        self.writable()?;
        let name = Name::new(name)?;
        if flags & !REMOVEDIR != 0 {
            return Err(Errno::INVAL);
        }
        let at = self.fids.get(dir)?.file(&self.folder)?;
        let loser = self.entry(&at, name);
        self.folder.unlink(&at, name, flags & REMOVEDIR != 0)?;
        self.lost_its_name(loser);
        Ok(kind::UNLINKAT + 1)
    }

    /// Removes the file that `fid` is; the fid goes in any case.
    pub(super) fn remove(&mut self, fid: u32) -> Done {
        let fid = self.fids.remove(fid).ok_or(Errno::BADF)?;
        self.writable()?;
        // The folder itself stays.
        let (parent, name) = split(&fid.path).ok_or(Errno::BUSY)?;
        let (parent, name) = (self.folder.at(parent)?, Name::new(name)?);
        let (file, stat) = self.entry(&parent, name)?;
        if !fid.is(file)? {
            return Err(Errno::STALE);
        }
        let directory = file_type(&stat) == FileType::Directory;
        self.folder.unlink(parent, name, directory)?;
        self.fids.unnamed(&stat);
        Ok(kind::REMOVE + 1)
    }

    /// Renames the file that `fid` is.
    pub(super) fn rename(&mut self, fid: u32, dir: u32, new: &[u8]) -> Done {
        self.writable()?;
        let new = Name::new(new)?;
        let fid = self.fids.get(fid)?;
        let old_path = fid.path.clone();
        let (parent, old) = split(&old_path).ok_or(Errno::BUSY)?;
        let (parent, old) = (self.folder.at(parent)?, Name::new(old)?);
        let to = self.fids.get(dir)?;
        let new_path = to.path_of(new)?;
        self.fids.may_be_renamed(&old_path, &new_path)?;
        if !fid.is(self.folder.child(&parent, old)?)? {
            return Err(Errno::STALE);
        }
        let to = to.file(&self.folder)?;
        let loser = self.entry(&to, new);
        self.folder.rename((parent, old), (&to, new))?;
        self.lost_its_name(loser);
        self.fids.renamed(&old_path, &new_path);
        Ok(kind::RENAME + 1)
    }

    pub(super) fn renameat(&mut self, from: u32, old: &[u8], to: u32, new: &[u8]) -> Done {
        self.writable()?;
        let (old, new) = (Name::new(old)?, Name::new(new)?);
        let (from, to) = (self.fids.get(from)?, self.fids.get(to)?);
        let (old_path, new_path) = (from.path_of(old)?, to.path_of(new)?);
        self.fids.may_be_renamed(&old_path, &new_path)?;
        let (from, to) = (from.file(&self.folder)?, to.file(&self.folder)?);
        let loser = self.entry(&to, new);
        self.folder.rename((from, old), (&to, new))?;
        self.lost_its_name(loser);
        self.fids.renamed(&old_path, &new_path);
        Ok(kind::RENAMEAT + 1)
    }
}
