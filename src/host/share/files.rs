//! Requests about one file: open, read, write, change.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::directory::Directory;
use super::fids::{Fid, Hold};
use super::folder::{file_type, stat};
use super::server::{Done, MOST_MSIZE, Server};
use super::wire::{Changes, READ_HEADER, Reply, kind, open};

/// `P9_LOCK_FLAGS_BLOCK` and `P9_LOCK_FLAGS_RECLAIM`.
const LOCK_FLAGS: u32 = 0x3;
/// `P9_LOCK_SUCCESS`.
const LOCKED: u8 = 0;
/// Bytes of an entry of `Rreaddir` before its name: qid, place, type, the name's length.
const ENTRY: usize = 13 + 8 + 1 + 2;

/// The host's flags for the guest's.
///
/// # Errors
/// `EINVAL` for an access mode that is none.
pub(super) fn host_flags(flags: u32) -> Result<OFlags, Errno> {
    let access = match flags & open::ACCESS {
        open::RDONLY => OFlags::RDONLY,
        open::WRONLY => OFlags::WRONLY,
        open::RDWR => OFlags::RDWR,
        _ => return Err(Errno::INVAL),
    };
    let pairs = [
        (open::TRUNC, OFlags::TRUNC),
        (open::APPEND, OFlags::APPEND),
        (open::DSYNC, OFlags::DSYNC),
        (open::SYNC, OFlags::SYNC),
    ];
    let asked = pairs.iter().filter(|(guest, _)| flags & guest == *guest);
    Ok(asked.fold(access, |all, (_, host)| all | *host))
}

impl Server {
    pub(super) fn open(&mut self, fid: u32, flags: u32, reply: &mut Reply) -> Done {
        let at = self.fids.get(fid)?;
        if at.is_open() {
            return Err(Errno::BUSY);
        }
        let host = host_flags(flags)?;
        let writes = host.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC);
        let file = at.file(&self.folder)?;
        let stat = stat(&file)?;
        let kind_of_file = file_type(&stat);
        if flags & open::DIRECTORY != 0 && kind_of_file != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let hold = match kind_of_file {
            FileType::Directory if writes => return Err(Errno::ISDIR),
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                Hold::Directory(Directory::new(self.folder.open_named(file.as_fd(), flags)?))
            }
            FileType::RegularFile => {
                if writes {
                    self.writable()?;
                }
                let open = || self.folder.open_named(file.as_fd(), host);
                Hold::File(self.set_id(at.uid).contents(open)?)
            }
            FileType::Symlink => return Err(Errno::LOOP),
            // Devices, pipes and sockets are the guest's own; the host's are not opened for it.
            _ => return Err(Errno::NXIO),
        };
        drop(file);
        self.fids.open(fid, &stat, hold)?;
        reply.qid(self.devices.qid(&stat));
        // No unit: whatever fits a message.
        reply.u32(0);
        Ok(kind::LOPEN + 1)
    }

    pub(super) fn read(&mut self, fid: u32, offset: u64, count: u32, reply: &mut Reply) -> Done {
        let Fid {
            hold: Hold::File(file),
            ..
        } = self.opened(fid)?
        else {
            return Err(Errno::ISDIR);
        };
        let most = self.room(READ_HEADER);
        let count = usize::try_from(count).map_or(most, |count| count.min(most));
        reply.u32(0);
        let start = reply.len();
        let got = rustix::io::pread(file, reply.space(count), offset)?;
        reply.truncate(start + got);
        reply.set_u32(start - 4, length(got));
        Ok(kind::READ + 1)
    }

    pub(super) fn write(&mut self, fid: u32, offset: u64, data: &[u8], reply: &mut Reply) -> Done {
        self.writable()?;
        let Fid {
            hold: Hold::File(file),
            uid,
            ..
        } = self.opened(fid)?
        else {
            return Err(Errno::ISDIR);
        };
        let written = self
            .set_id(*uid)
            .contents(|| rustix::io::pwrite(file, data, offset))?;
        reply.u32(length(written));
        Ok(kind::WRITE + 1)
    }

    /// Bytes that fit a reply after `header`.
    fn room(&self, header: usize) -> usize {
        (self.msize.unwrap_or(MOST_MSIZE) as usize).saturating_sub(header)
    }

    pub(super) fn readdir(&mut self, fid: u32, place: u64, count: u32, reply: &mut Reply) -> Done {
        let most = self.room(READ_HEADER);
        let most = usize::try_from(count).map_or(most, |count| count.min(most));
        let root = stat(self.folder.at(b"")?)?;
        let devices = &mut self.devices;
        let directory = self.fids.directory(fid)?;
        let dir = stat(directory.fd())?;
        let is_root = dir.stx_ino == root.stx_ino && devices.qid(&dir) == devices.qid(&root);
        reply.u32(0);
        let start = reply.len();
        let refused = directory.read(place, |entry| {
            if reply.len() - start + ENTRY + entry.name.len() > most {
                return false;
            }
            // What is above the folder is the folder.
            let ino = match entry.name {
                b".." if is_root => root.stx_ino,
                _ => entry.ino,
            };
            reply.qid(devices.entry(&dir, attributes::kind(entry.kind), ino));
            reply.u64(entry.next);
            reply.u8(directory_type(entry.kind));
            reply.string(entry.name).is_ok()
        })?;
        let bytes = reply.len() - start;
        if refused && bytes == 0 {
            return Err(Errno::INVAL);
        }
        reply.set_u32(start - 4, length(bytes));
        Ok(kind::READDIR + 1)
    }

    pub(super) fn setattr(&mut self, fid: u32, changes: &Changes) -> Done {
        self.writable()?;
        let fid = self.fids.get(fid)?;
        let file = fid.file(&self.folder)?;
        let open = match &fid.hold {
            Hold::File(open) => Some(open.as_fd()),
            _ => None,
        };
        let set_id = self.set_id(fid.uid);
        attributes::change(&self.folder, set_id, file.as_fd(), open, changes)?;
        Ok(kind::SETATTR + 1)
    }

    pub(super) fn fsync(&mut self, fid: u32, datasync: u32) -> Done {
        match &self.opened(fid)?.hold {
            Hold::File(file) if datasync != 0 => rustix::fs::fdatasync(file)?,
            Hold::File(file) => rustix::fs::fsync(file)?,
            Hold::Directory(directory) => rustix::fs::fsync(directory.fd())?,
            Hold::Path | Hold::Named(_) => return Err(Errno::BADF),
        }
        Ok(kind::FSYNC + 1)
    }

    /// Locks are the guest's: its kernel arbitrates between its processes before it asks, and this
    /// server knows no others. Neither the host's processes nor other guests see them.
    pub(super) fn lock(&mut self, fid: u32, flags: u32, reply: &mut Reply) -> Done {
        self.opened(fid)?;
        if flags & !LOCK_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        reply.u8(LOCKED);
        Ok(kind::LOCK + 1)
    }
}

/// A count of bytes in a message.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a message is at most MOST_MSIZE long")
}

/// `DT_DIR` and its like.
fn directory_type(kind: FileType) -> u8 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        _ => 0,
    }
}
