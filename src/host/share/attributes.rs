//! What the guest is told of a file, and what it may change of it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    FileType, OFlags, Statx, StatxFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;

use super::folder::{Folder, device, file_type, stat};
use super::set_id::SetId;
use super::wire::{Changes, NO_ID, Qid, Reply, Time};

/// `P9_GETATTR_BASIC`: all that a `stat` has.
const BASIC: u64 = 0x7FF;
/// `P9_GETATTR_BTIME`.
const BTIME: u64 = 0x800;
/// `V9FS_MAGIC`: the file system that the guest's programs are told they are on.
const MAGIC: u32 = 0x0102_1997;

/// Numbers file systems, so that files of two of them do not look like one.
#[derive(Default)]
pub struct Devices(Vec<u64>);

/// File systems that are told apart; a folder with more mounted in it may show two files as one.
const MOST_DEVICES: usize = 255;

impl Devices {
    /// The identity of a file, in 64 bits.
    fn path(&mut self, device: u64, ino: u64) -> u64 {
        let number = match self.0.iter().position(|known| *known == device) {
            Some(number) => number,
            None if self.0.len() < MOST_DEVICES => {
                self.0.push(device);
                self.0.len() - 1
            }
            None => MOST_DEVICES,
        };
        // Inode numbers are short, or spread over all their bits.
        ino ^ (number as u64) << 56
    }

    /// A file's identity, type and version.
    pub fn qid(&mut self, stat: &Statx) -> Qid {
        let mtime = stat.stx_mtime;
        let contents = mtime.tv_sec as u64 ^ u64::from(mtime.tv_nsec) ^ stat.stx_size << 8;
        Qid {
            kind: kind(file_type(stat)),
            version: contents as u32,
            path: self.path(device(stat), stat.stx_ino),
        }
    }

    /// Returns the qid of an entry that was read from the directory `dir`, without its version.
    pub fn entry(&mut self, dir: &Statx, kind: u8, ino: u64) -> Qid {
        Qid {
            kind,
            version: 0,
            path: self.path(device(dir), ino),
        }
    }
}

/// The type of a qid.
pub fn kind(file: FileType) -> u8 {
    match file {
        FileType::Directory => Qid::DIRECTORY,
        FileType::Symlink => Qid::SYMLINK,
        _ => Qid::FILE,
    }
}

/// The fields of `Rgetattr`.
pub fn put_attributes(reply: &mut Reply, stat: &Statx, qid: Qid, mask: u64) {
    let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    reply.u64(mask & (BASIC | if born { BTIME } else { 0 }));
    reply.qid(qid);
    reply.u32(stat.stx_mode.into());
    reply.u32(stat.stx_uid);
    reply.u32(stat.stx_gid);
    reply.u64(stat.stx_nlink.into());
    reply.u64(rustix::fs::makedev(
        stat.stx_rdev_major,
        stat.stx_rdev_minor,
    ));
    reply.u64(stat.stx_size);
    reply.u64(stat.stx_blksize.into());
    reply.u64(stat.stx_blocks);
    for time in [
        stat.stx_atime,
        stat.stx_mtime,
        stat.stx_ctime,
        stat.stx_btime,
    ] {
        reply.u64(time.tv_sec as u64);
        reply.u64(time.tv_nsec.into());
    }
    // Generation and data version, which are not valid.
    reply.u64(0);
    reply.u64(0);
}

/// The fields of `Rstatfs`.
pub fn put_file_system(reply: &mut Reply, file: impl AsFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstatvfs(file)?;
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    reply.u32(MAGIC);
    reply.u32(small(stat.f_frsize));
    reply.u64(stat.f_blocks);
    reply.u64(stat.f_bfree);
    reply.u64(stat.f_bavail);
    reply.u64(stat.f_files);
    reply.u64(stat.f_ffree);
    reply.u64(stat.f_fsid);
    reply.u32(small(stat.f_namemax).min(255));
    Ok(())
}

fn timespec(time: Option<Time>) -> Result<Timespec, Errno> {
    let (tv_sec, tv_nsec) = match time {
        None => (0, UTIME_OMIT),
        Some(Time::Now) => (0, UTIME_NOW),
        Some(Time::At(seconds, nanoseconds)) => (
            // A time before 1970 is negative.
            seconds as i64,
            match nanoseconds {
                0..1_000_000_000 => nanoseconds as _,
                _ => return Err(Errno::INVAL),
            },
        ),
    };
    Ok(Timespec { tv_sec, tv_nsec })
}

/// Changes what is asked for, in the order in which nothing undoes what came before: a new owner
/// takes the set-id bits away, and a new length changes the times. `open` is the file when the guest
/// has it open.
pub fn change(
    folder: &Folder,
    set_id: SetId,
    file: BorrowedFd,
    open: Option<BorrowedFd>,
    changes: &Changes,
) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: timespec(changes.atime)?,
        last_modification: timespec(changes.mtime)?,
    };
    let kind = file_type(&stat(file)?);
    let known = |id: &u32| *id != NO_ID;
    let (uid, gid) = (changes.uid.filter(known), changes.gid.filter(known));
    if uid.is_some() || gid.is_some() {
        folder.chown(file, uid, gid)?;
    }
    if let Some(mode) = changes.mode {
        if kind == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        folder.chmod(file, set_id.permissions(mode, kind))?;
    }
    if let Some(size) = changes.size {
        match kind {
            FileType::RegularFile => {
                set_id.contents(|| truncate(folder, file, open, size))?;
            }
            FileType::Directory => return Err(Errno::ISDIR),
            _ => return Err(Errno::INVAL),
        }
    }
    if changes.atime.is_some() || changes.mtime.is_some() {
        folder.set_times(file, &times)?;
    }
    Ok(())
}

fn truncate(
    folder: &Folder,
    file: BorrowedFd,
    open: Option<BorrowedFd>,
    size: u64,
) -> Result<(), Errno> {
    if i64::try_from(size).is_err() {
        return Err(Errno::FBIG);
    }
    // A file that is open for writing can be cut even when its permissions were taken since.
    match open.map(|open| rustix::fs::ftruncate(open, size)) {
        None | Some(Err(Errno::INVAL | Errno::BADF)) => {}
        Some(result) => return result,
    }
    let writable = folder.open_named(file, OFlags::WRONLY)?;
    rustix::fs::ftruncate(writable, size)
}
