//! A session: requests in, replies out, one at a time.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Statx};
use rustix::io::Errno;

use super::attributes::{self, Devices};
use super::fids::{Fid, Fids, Limits, join, split};
use super::folder::{Folder, Name, file_type, stat};
use super::set_id::SetId;
use super::wire::{self, NO_FID, Reply, Request, kind};

/// The version that is spoken.
const VERSION: &[u8] = b"9P2000.L";
/// Longest message in bytes, more than what Linux can ask for (125 pages).
pub const MOST_MSIZE: u32 = 512 << 10;
/// Shortest message that a client may ask for in bytes.
const LEAST_MSIZE: u32 = 4096;
/// `P9_LOCK_TYPE_UNLCK`: nobody has a lock.
const UNLOCKED: u8 = 2;

/// What a guest may do in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Nothing is changed, whatever the guest asks for.
    pub readonly: bool,
    /// Regular files may run as their owner or group.
    pub setid: bool,
    /// What is created gets the owner that the guest names: right where this process may give
    /// files away, and an error where it may not.
    pub give_away: bool,
    /// How much of the host the guest may hold.
    pub limits: Limits,
}

/// A server for one client.
pub struct Server {
    pub(super) folder: Folder,
    pub(super) options: Options,
    /// Longest message of the session in bytes; none before a version is agreed on.
    pub(super) msize: Option<u32>,
    pub(super) fids: Fids,
    pub(super) devices: Devices,
}

/// The number of a reply whose fields were put.
pub(super) type Done = Result<u8, Errno>;

impl Server {
    /// A server without a session.
    pub fn new(folder: Folder, options: Options) -> Self {
        Server {
            folder,
            options,
            msize: None,
            fids: Fids::new(options.limits),
            devices: Devices::default(),
        }
    }

    /// Forgets the session and closes its files.
    pub fn reset(&mut self) {
        self.msize = None;
        self.fids.clear();
    }

    /// Answers one request: whatever `message` holds, `reply` holds a message then. It has at most
    /// `room` bytes, if that is enough for an error (11 bytes).
    pub fn handle(&mut self, message: &[u8], room: usize, reply: &mut Vec<u8>) {
        let tag = wire::tag(message);
        let mut fields = Reply::new(reply);
        let done = self
            .check_length(message)
            .and_then(|()| Request::parse(message))
            .and_then(|request| self.answer(request, &mut fields));
        match done {
            Ok(number) if fields.len() <= room => fields.finish(number, tag),
            Ok(_) => wire::error(reply, tag, Errno::MSGSIZE),
            Err(error) => wire::error(reply, tag, error),
        }
    }

    fn check_length(&self, message: &[u8]) -> Result<(), Errno> {
        match wire::size(message) > self.msize.unwrap_or(MOST_MSIZE) {
            true => Err(Errno::MSGSIZE),
            false => Ok(()),
        }
    }

    fn answer(&mut self, request: Request, reply: &mut Reply) -> Done {
        if !matches!(request, Request::Version { .. }) && self.msize.is_none() {
            return Err(Errno::PROTO);
        }
        match request {
            Request::Version { msize, version } => self.version(msize, version, reply),
            Request::Auth | Request::Xattrwalk | Request::Xattrcreate => Err(Errno::OPNOTSUPP),
            Request::Attach {
                fid,
                afid,
                name,
                uid,
            } => self.attach(fid, afid, name, uid, reply),
            // Requests are answered in order, so the one that is flushed has its answer.
            Request::Flush => Ok(kind::FLUSH + 1),
            Request::Walk { fid, to, names } => self.walk(fid, to, &names, reply),
            Request::Open { fid, flags } => self.open(fid, flags, reply),
            Request::Create {
                fid,
                name,
                flags,
                mode,
                gid,
            } => self.create(fid, name, flags, mode, gid, reply),
            Request::Read { fid, offset, count } => self.read(fid, offset, count, reply),
            Request::Write { fid, offset, data } => self.write(fid, offset, data, reply),
            Request::Clunk { fid } => {
                self.fids.remove(fid).ok_or(Errno::BADF)?;
                Ok(kind::CLUNK + 1)
            }
            Request::Remove { fid } => self.remove(fid),
            Request::Statfs { fid } => {
                let file = self.fids.get(fid)?.file(&self.folder)?;
                attributes::put_file_system(reply, file)?;
                Ok(kind::STATFS + 1)
            }
            Request::Getattr { fid, mask } => {
                let stat = stat(self.fids.get(fid)?.file(&self.folder)?)?;
                let qid = self.devices.qid(&stat);
                attributes::put_attributes(reply, &stat, qid, mask);
                Ok(kind::GETATTR + 1)
            }
            Request::Setattr { fid, changes } => self.setattr(fid, &changes),
            Request::Readdir { fid, offset, count } => self.readdir(fid, offset, count, reply),
            Request::Symlink {
                dir,
                name,
                target,
                gid,
            } => self.symlink(dir, name, target, gid, reply),
            Request::Readlink { fid } => {
                let file = self.fids.get(fid)?.file(&self.folder)?;
                if file_type(&stat(&file)?) != FileType::Symlink {
                    return Err(Errno::INVAL);
                }
                reply.string(&self.folder.readlink(file)?)?;
                self.fits(reply)?;
                Ok(kind::READLINK + 1)
            }
            Request::Mknod {
                dir,
                name,
                mode,
                gid,
            } => self.mknod(dir, name, mode, gid, reply),
            Request::Mkdir {
                dir,
                name,
                mode,
                gid,
            } => self.mkdir(dir, name, mode, gid, reply),
            Request::Link { dir, fid, name } => self.link(dir, fid, name),
            Request::Rename { fid, dir, name } => self.rename(fid, dir, name),
            Request::Renameat { from, old, to, new } => self.renameat(from, old, to, new),
            Request::Unlinkat { dir, name, flags } => self.unlinkat(dir, name, flags),
            Request::Fsync { fid, datasync } => self.fsync(fid, datasync),
            Request::Lock { fid, flags } => self.lock(fid, flags, reply),
            Request::Getlock {
                fid,
                start,
                length,
                pid,
                client,
            } => {
                self.opened(fid)?;
                reply.u8(UNLOCKED);
                reply.u64(start);
                reply.u64(length);
                reply.u32(pid);
                reply.string(client)?;
                self.fits(reply)?;
                Ok(kind::GETLOCK + 1)
            }
        }
    }

    /// Whether a reply is as short as the client asked for.
    pub(super) fn fits(&self, reply: &Reply) -> Result<(), Errno> {
        match reply.len() > self.msize.unwrap_or(LEAST_MSIZE) as usize {
            true => Err(Errno::MSGSIZE),
            false => Ok(()),
        }
    }

    pub(super) fn writable(&self) -> Result<(), Errno> {
        match self.options.readonly {
            true => Err(Errno::ROFS),
            false => Ok(()),
        }
    }

    pub(super) fn opened(&self, fid: u32) -> Result<&Fid, Errno> {
        let fid = self.fids.get(fid)?;
        fid.is_open().then_some(fid).ok_or(Errno::BADF)
    }

    /// What the guest's user `uid` may do about set-id bits: root, who may set them, keeps them as
    /// well.
    pub(super) fn set_id(&self, uid: u32) -> SetId {
        let allowed = self.options.setid;
        SetId {
            allowed,
            kept: allowed && uid == 0,
        }
    }

    /// A new session: everything of the one before is gone.
    fn version(&mut self, msize: u32, version: &[u8], reply: &mut Reply) -> Done {
        self.reset();
        if msize < LEAST_MSIZE {
            return Err(Errno::MSGSIZE);
        }
        let msize = msize.min(MOST_MSIZE);
        reply.u32(msize);
        if version == VERSION {
            self.msize = Some(msize);
            reply.string(VERSION)?;
        } else {
            reply.string(b"unknown")?;
        }
        Ok(kind::VERSION + 1)
    }

    fn attach(&mut self, fid: u32, afid: u32, name: &[u8], uid: u32, reply: &mut Reply) -> Done {
        if afid != NO_FID {
            return Err(Errno::OPNOTSUPP);
        }
        if !matches!(name, b"" | b"/") {
            return Err(Errno::NOENT);
        }
        self.free(fid)?;
        let root = self.folder.at(b"")?;
        let stat = stat(&root)?;
        self.fids
            .insert(fid, Fid::new(Vec::new(), uid, root, &stat))?;
        reply.qid(self.devices.qid(&stat));
        Ok(kind::ATTACH + 1)
    }

    /// Whether `fid` can be given to a file.
    fn free(&self, fid: u32) -> Result<(), Errno> {
        match fid == NO_FID || self.fids.contains(fid) {
            true => Err(Errno::BADF),
            false => Ok(()),
        }
    }

    /// Walks names one by one. When one but the first is missing, the reply has those before it and
    /// `to` is not made.
    fn walk(&mut self, fid: u32, to: u32, names: &[&[u8]], reply: &mut Reply) -> Done {
        if to != fid {
            self.free(to)?;
        }
        let start = self.fids.get(fid)?;
        if to == fid && start.is_open() {
            return Err(Errno::BUSY);
        }
        let (uid, open) = (start.uid, start.is_open());
        let file = start.file(&self.folder)?;
        let mut here = Step {
            path: start.path.clone(),
            stat: stat(&file)?,
            file: self.folder.another_name(file, open)?,
        };
        let mut qids = Vec::with_capacity(names.len());
        for name in names {
            match here.walk(&self.folder, name) {
                Ok(next) => here = next,
                Err(error) if qids.is_empty() => return Err(error),
                Err(_) => break,
            }
            qids.push(self.devices.qid(&here.stat));
        }
        if qids.len() == names.len() {
            let Step { path, stat, file } = here;
            self.fids.insert(to, Fid::new(path, uid, file, &stat))?;
        }
        let count = u16::try_from(qids.len()).expect("a walk has at most 16 names");
        reply.u16(count);
        for qid in qids {
            reply.qid(qid);
        }
        Ok(kind::WALK + 1)
    }
}

/// Where a walk is.
struct Step {
    path: Vec<u8>,
    stat: Statx,
    file: OwnedFd,
}

impl Step {
    /// One name further, or back. What is above the folder is the folder.
    fn walk(&self, folder: &Folder, name: &[u8]) -> Result<Step, Errno> {
        if file_type(&self.stat) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let (path, file) = match name {
            b".." => {
                let (parent, _) = split(&self.path).unwrap_or_default();
                (parent.to_vec(), folder.at(parent)?)
            }
            _ => {
                let name = Name::new(name)?;
                (join(&self.path, name)?, folder.child(&self.file, name)?)
            }
        };
        let stat = stat(&file)?;
        Ok(Step { path, stat, file })
    }
}
