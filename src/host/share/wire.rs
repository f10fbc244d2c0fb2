//! Messages of 9P2000.L: requests from bytes, replies to bytes (`Documentation` of the protocol:
//! the Plan 9 manual, section 5, and the `.L` extension of the diod project).
//!
//! A message is `size[4] type[1] tag[2]` and its fields, little-endian, strings with a length of two
//! bytes before them. Every length comes from the guest and is checked against what there is.

use rustix::io::Errno;

/// Bytes of a message before its fields: `size[4] type[1] tag[2]`.
pub const HEADER: usize = 7;
/// Bytes of a read's reply before its data: the header and `count[4]`.
pub const READ_HEADER: usize = HEADER + 4;
/// Most names in one walk (`MAXWELEM`).
pub const MOST_NAMES: usize = 16;
/// The tag of a version request, and of what has no tag (`NOTAG`).
pub const NO_TAG: u16 = 0xFFFF;
/// No fid (`NOFID`).
pub const NO_FID: u32 = 0xFFFF_FFFF;
/// The identifier of a user who has none (`P9_NONUNAME`), and of a group.
pub const NO_ID: u32 = 0xFFFF_FFFF;

/// Numbers of the messages; a reply's is its request's plus one.
pub mod kind {
    #![allow(missing_docs)]
    pub const RLERROR: u8 = 7;
    pub const STATFS: u8 = 8;
    pub const LOPEN: u8 = 12;
    pub const LCREATE: u8 = 14;
    pub const SYMLINK: u8 = 16;
    pub const MKNOD: u8 = 18;
    pub const RENAME: u8 = 20;
    pub const READLINK: u8 = 22;
    pub const GETATTR: u8 = 24;
    pub const SETATTR: u8 = 26;
    pub const XATTRWALK: u8 = 30;
    pub const XATTRCREATE: u8 = 32;
    pub const READDIR: u8 = 40;
    pub const FSYNC: u8 = 50;
    pub const LOCK: u8 = 52;
    pub const GETLOCK: u8 = 54;
    pub const LINK: u8 = 70;
    pub const MKDIR: u8 = 72;
    pub const RENAMEAT: u8 = 74;
    pub const UNLINKAT: u8 = 76;
    pub const VERSION: u8 = 100;
    pub const AUTH: u8 = 102;
    pub const ATTACH: u8 = 104;
    pub const FLUSH: u8 = 108;
    pub const WALK: u8 = 110;
    pub const READ: u8 = 116;
    pub const WRITE: u8 = 118;
    pub const CLUNK: u8 = 120;
    pub const REMOVE: u8 = 122;
}

/// Flags of `Tlopen` and `Tlcreate`: one set of numbers whatever the client's architecture is.
pub mod open {
    #![allow(missing_docs)]
    pub const ACCESS: u32 = 0o3;
    pub const RDONLY: u32 = 0o0;
    pub const WRONLY: u32 = 0o1;
    pub const RDWR: u32 = 0o2;
    pub const EXCL: u32 = 0o200;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const DSYNC: u32 = 0o10000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const SYNC: u32 = 0o4000000;
}

/// What a file is, for the server and for the client: unique while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qid {
    /// [`Qid::DIRECTORY`], [`Qid::SYMLINK`] or [`Qid::FILE`].
    pub kind: u8,
    /// Changes with the file's contents.
    pub version: u32,
    /// Which file it is.
    pub path: u64,
}

impl Qid {
    /// A directory.
    pub const DIRECTORY: u8 = 0x80;
    /// A symbolic link.
    pub const SYMLINK: u8 = 0x02;
    /// Anything else.
    pub const FILE: u8 = 0x00;
}

/// What a `Tsetattr` sets; `None` leaves a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Time of the last read.
    pub atime: Option<Time>,
    /// Time of the last change of the contents.
    pub mtime: Option<Time>,
}

/// A time in a `Tsetattr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The server's time.
    Now,
    /// Seconds since 1970 and nanoseconds.
    At(u64, u64),
}

/// A request, with its fields checked for their lengths and for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Request<'a> {
    Version {
        msize: u32,
        version: &'a [u8],
    },
    Auth,
    Attach {
        fid: u32,
        afid: u32,
        name: &'a [u8],
        uid: u32,
    },
    Flush,
    Walk {
        fid: u32,
        to: u32,
        names: Vec<&'a [u8]>,
    },
    Open {
        fid: u32,
        flags: u32,
    },
    Create {
        fid: u32,
        name: &'a [u8],
        flags: u32,
        mode: u32,
        gid: u32,
    },
    Read {
        fid: u32,
        offset: u64,
        count: u32,
    },
    Write {
        fid: u32,
        offset: u64,
        data: &'a [u8],
    },
    Clunk {
        fid: u32,
    },
    Remove {
        fid: u32,
    },
    Statfs {
        fid: u32,
    },
    Getattr {
        fid: u32,
        mask: u64,
    },
    Setattr {
        fid: u32,
        changes: Changes,
    },
    Readdir {
        fid: u32,
        offset: u64,
        count: u32,
    },
    Symlink {
        dir: u32,
        name: &'a [u8],
        target: &'a [u8],
        gid: u32,
    },
    Readlink {
        fid: u32,
    },
    Mknod {
        dir: u32,
        name: &'a [u8],
        mode: u32,
        gid: u32,
    },
    Mkdir {
        dir: u32,
        name: &'a [u8],
        mode: u32,
        gid: u32,
    },
    Link {
        dir: u32,
        fid: u32,
        name: &'a [u8],
    },
    Rename {
        fid: u32,
        dir: u32,
        name: &'a [u8],
    },
    Renameat {
        from: u32,
        old: &'a [u8],
        to: u32,
        new: &'a [u8],
    },
    Unlinkat {
        dir: u32,
        name: &'a [u8],
        flags: u32,
    },
    Fsync {
        fid: u32,
        datasync: u32,
    },
    Lock {
        fid: u32,
        flags: u32,
    },
    Getlock {
        fid: u32,
        start: u64,
        length: u64,
        pid: u32,
        client: &'a [u8],
    },
    Xattrwalk,
    Xattrcreate,
}

/// Takes fields from a request; each is an error where the request is too short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Errno::PROTO)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Errno::PROTO)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Errno> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Errno> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Errno> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Errno> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], Errno> {
        let count = self.u16()?;
        self.bytes(count.into())
    }

    fn changes(&mut self) -> Result<Changes, Errno> {
        let valid = self.u32()?;
        let (mode, uid, gid, size) = (self.u32()?, self.u32()?, self.u32()?, self.u64()?);
        let atime = Time::At(self.u64()?, self.u64()?);
        let mtime = Time::At(self.u64()?, self.u64()?);
        let has = |bit: u32| valid & bit != 0;
        let time = |bit, set, time| has(bit).then_some(if has(set) { time } else { Time::Now });
        Ok(Changes {
            mode: has(0x1).then_some(mode),
            uid: has(0x2).then_some(uid),
            gid: has(0x4).then_some(gid),
            size: has(0x8).then_some(size),
            atime: time(0x10, 0x80, atime),
            mtime: time(0x20, 0x100, mtime),
        })
    }
}

/// The length that a request says it has; 0 for what is shorter than that.
pub fn size(message: &[u8]) -> u32 {
    message
        .first_chunk()
        .map_or(0, |size| u32::from_le_bytes(*size))
}

/// The tag of a request; [`NO_TAG`] for what is shorter than a header.
pub fn tag(message: &[u8]) -> u16 {
    match message {
        [_, _, _, _, _, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => NO_TAG,
    }
}

impl<'a> Request<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// `EPROTO` for one that is shorter than it says or than its fields, or longer than `message`;
    /// `EOPNOTSUPP` for a type that 9P2000.L does not have.
    pub fn parse(message: &'a [u8]) -> Result<Self, Errno> {
        let mut fields = Fields(message);
        let size = usize::try_from(fields.u32()?).map_err(|_| Errno::PROTO)?;
        let (number, _tag) = (fields.u8()?, fields.u16()?);
        let inside = size.checked_sub(HEADER).ok_or(Errno::PROTO)?;
        let mut f = Fields(fields.bytes(inside)?);
        Ok(match number {
            kind::VERSION => Request::Version {
                msize: f.u32()?,
                version: f.string()?,
            },
            kind::AUTH => Request::Auth,
            kind::ATTACH => {
                let (fid, afid, _user) = (f.u32()?, f.u32()?, f.string()?);
                let name = f.string()?;
                let uid = f.u32()?;
                Request::Attach {
                    fid,
                    afid,
                    name,
                    uid,
                }
            }
            kind::FLUSH => {
                f.u16()?;
                Request::Flush
            }
            kind::WALK => {
                let (fid, to, count) = (f.u32()?, f.u32()?, f.u16()?);
                if usize::from(count) > MOST_NAMES {
                    return Err(Errno::PROTO);
                }
                let names = (0..count).map(|_| f.string()).collect::<Result<_, _>>()?;
                Request::Walk { fid, to, names }
            }
            kind::LOPEN => Request::Open {
                fid: f.u32()?,
                flags: f.u32()?,
            },
            kind::LCREATE => Request::Create {
                fid: f.u32()?,
                name: f.string()?,
                flags: f.u32()?,
                mode: f.u32()?,
                gid: f.u32()?,
            },
            kind::READ => Request::Read {
                fid: f.u32()?,
                offset: f.u64()?,
                count: f.u32()?,
            },
            kind::WRITE => {
                let (fid, offset, count) = (f.u32()?, f.u64()?, f.u32()?);
                let data = f.bytes(usize::try_from(count).map_err(|_| Errno::PROTO)?)?;
                Request::Write { fid, offset, data }
            }
            kind::CLUNK => Request::Clunk { fid: f.u32()? },
            kind::REMOVE => Request::Remove { fid: f.u32()? },
            kind::STATFS => Request::Statfs { fid: f.u32()? },
            kind::GETATTR => Request::Getattr {
                fid: f.u32()?,
                mask: f.u64()?,
            },
            kind::SETATTR => Request::Setattr {
                fid: f.u32()?,
                changes: f.changes()?,
            },
            kind::READDIR => Request::Readdir {
                fid: f.u32()?,
                offset: f.u64()?,
                count: f.u32()?,
            },
            kind::SYMLINK => Request::Symlink {
                dir: f.u32()?,
                name: f.string()?,
                target: f.string()?,
                gid: f.u32()?,
            },
            kind::READLINK => Request::Readlink { fid: f.u32()? },
            kind::MKNOD => {
                let (dir, name, mode) = (f.u32()?, f.string()?, f.u32()?);
                let (_major, _minor, gid) = (f.u32()?, f.u32()?, f.u32()?);
                Request::Mknod {
                    dir,
                    name,
                    mode,
                    gid,
                }
            }
            kind::MKDIR => Request::Mkdir {
                dir: f.u32()?,
                name: f.string()?,
                mode: f.u32()?,
                gid: f.u32()?,
            },
            kind::LINK => Request::Link {
                dir: f.u32()?,
                fid: f.u32()?,
                name: f.string()?,
            },
            kind::RENAME => Request::Rename {
                fid: f.u32()?,
                dir: f.u32()?,
                name: f.string()?,
            },
            kind::RENAMEAT => Request::Renameat {
                from: f.u32()?,
                old: f.string()?,
                to: f.u32()?,
                new: f.string()?,
            },
            kind::UNLINKAT => Request::Unlinkat {
                dir: f.u32()?,
                name: f.string()?,
                flags: f.u32()?,
            },
            kind::FSYNC => {
                let fid = f.u32()?;
                // The field came later than the message; without it, everything is written.
                let datasync = if f.0.is_empty() { 0 } else { f.u32()? };
                Request::Fsync { fid, datasync }
            }
            kind::LOCK => {
                let (fid, _type, flags) = (f.u32()?, f.u8()?, f.u32()?);
                let (_start, _length, _pid) = (f.u64()?, f.u64()?, f.u32()?);
                f.string()?;
                Request::Lock { fid, flags }
            }
            kind::GETLOCK => {
                let (fid, _type) = (f.u32()?, f.u8()?);
                Request::Getlock {
                    fid,
                    start: f.u64()?,
                    length: f.u64()?,
                    pid: f.u32()?,
                    client: f.string()?,
                }
            }
            kind::XATTRWALK => Request::Xattrwalk,
            kind::XATTRCREATE => Request::Xattrcreate,
            _ => return Err(Errno::OPNOTSUPP),
        })
    }
}

/// Puts fields into a reply, after a header that [`finish`](Reply::finish) fills in.
pub struct Reply<'a>(&'a mut Vec<u8>);

impl<'a> Reply<'a> {
    /// An empty reply in place of whatever `bytes` holds.
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER, 0);
        Reply(bytes)
    }

    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn qid(&mut self, qid: Qid) {
        self.u8(qid.kind);
        self.u32(qid.version);
        self.u64(qid.path);
    }

    /// A string; one that is longer than its length can say is an error.
    pub fn string(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| Errno::NAMETOOLONG)?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes so far, header and all.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all bytes after the first `length`.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length.max(HEADER));
    }

    /// Room of `count` bytes, zero, for a caller to fill.
    pub fn space(&mut self, count: usize) -> &mut [u8] {
        let start = self.0.len();
        self.0.resize(start + count, 0);
        &mut self.0[start..]
    }

    /// Replaces four bytes at `at`, which must be there.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Fills the header in.
    pub fn finish(self, number: u8, tag: u16) {
        let size = u32::try_from(self.0.len()).expect("a reply is at most msize bytes long");
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0[4] = number;
        self.0[5..HEADER].copy_from_slice(&tag.to_le_bytes());
    }
}

/// The reply that says `error`.
///
/// Its number is Linux's generic one, which is what the client takes it for. On PowerPC one number
/// differs, `EDEADLOCK`, and `EDEADLK`, which is what a file system gives, is the same.
pub fn error(bytes: &mut Vec<u8>, tag: u16, error: Errno) {
    let mut reply = Reply::new(bytes);
    reply.u32(error.raw_os_error().unsigned_abs());
    reply.finish(kind::RLERROR, tag);
}
