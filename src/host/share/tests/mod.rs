//! The server, message by message: a client that writes requests and reads replies, over folders
//! that exist for one test.

mod arbitrary;
mod attributes;
mod confinement;
mod directories;
mod entries;
mod files;
mod session;
mod set_id;
mod worker;

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::TempDir;

use super::fids::Limits;
use super::folder::{Folder, LONGEST_PATH};
use super::server::{Options, Server};
use super::set_id as bits;
use super::wire::{NO_FID, NO_ID, Qid, kind};
use crate::host::descriptors::Descriptors;

const LIMITS: Limits = Limits {
    fids: 100,
    descriptors: 50,
    process: Descriptors::with_limit(usize::MAX),
    path_bytes: 1 << 20,
};

/// The fid of the folder.
const ROOT: u32 = 0;

struct Client {
    dir: TempDir,
    server: Server,
    reply: Vec<u8>,
}

/// A request under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(number: u8) -> Self {
        Message(vec![0, 0, 0, 0, number, 7, 0])
    }

    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn str(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self = self.u16(text.len().try_into().unwrap());
        self.0.extend(text);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let size = self.0.len() as u32;
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}

/// The fields of a reply, front to back.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().unwrap())
    }

    fn str(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.bytes(count.into())
    }

    fn qid(&mut self) -> Qid {
        Qid {
            kind: self.u8(),
            version: self.u32(),
            path: self.u64(),
        }
    }
}

/// What a `Tgetattr` answers, as far as tests look.
#[derive(Debug, PartialEq)]
struct Attributes {
    mode: u32,
    nlink: u64,
    size: u64,
    atime: (u64, u64),
    mtime: (u64, u64),
}

impl Client {
    fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("shared")).unwrap();
        let folder = Folder::open(&dir.path().join("shared")).unwrap();
        // As the thread that serves a share does.
        bits::give_up_exception().unwrap();
        let mut client = Client {
            dir,
            server: Server::new(folder, options),
            reply: Vec::new(),
        };
        client.start(64 << 10);
        client
    }

    fn new() -> Self {
        Client::with(options())
    }

    fn readonly() -> Self {
        Client::with(Options {
            readonly: true,
            ..options()
        })
    }

    /// Begins a session, in which `ROOT` is the folder.
    fn start(&mut self, msize: u32) {
        let version = Message::new(kind::VERSION).u32(msize).str("9P2000.L");
        let mut reply = Fields(self.ask(version).unwrap());
        assert_eq!(reply.u32(), msize);
        assert_eq!(reply.str(), b"9P2000.L");
        self.attach(ROOT).unwrap();
    }

    /// The host's path of a file in the folder.
    fn host(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("shared").join(path)
    }

    /// A path beside the folder, where no guest may come.
    fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The fields of the reply, or the error that it holds.
    fn ask(&mut self, message: Message) -> Result<&[u8], Errno> {
        let message = message.finish();
        self.server.handle(&message, usize::MAX, &mut self.reply);
        let reply = &self.reply;
        let size = u32::from_le_bytes(reply[..4].try_into().unwrap());
        assert_eq!(size as usize, reply.len());
        assert_eq!(reply[5..7], message[5..7], "the tag comes back");
        match reply[4] {
            kind::RLERROR => {
                assert_eq!(size, 11);
                let number = i32::from_le_bytes(reply[7..].try_into().unwrap());
                Err(Errno::from_raw_os_error(number))
            }
            number => {
                assert_eq!(number, message[4] + 1);
                Ok(&reply[7..])
            }
        }
    }

    fn attach(&mut self, fid: u32) -> Result<Qid, Errno> {
        let attach = Message::new(kind::ATTACH).u32(fid).u32(NO_FID);
        let reply = self.ask(attach.str("root").str("").u32(NO_ID))?;
        Ok(Fields(reply).qid())
    }

    fn walk(&mut self, fid: u32, to: u32, names: &[&str]) -> Result<Vec<Qid>, Errno> {
        let walk = Message::new(kind::WALK).u32(fid).u32(to);
        let walk = walk.u16(names.len() as u16);
        let walk = names.iter().fold(walk, |walk, name| walk.str(name));
        let mut reply = Fields(self.ask(walk)?);
        Ok((0..reply.u16()).map(|_| reply.qid()).collect())
    }

    /// Walks from the folder to a path, whose last name must be there.
    fn reach(&mut self, to: u32, path: &str) -> Result<(), Errno> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        match self.walk(ROOT, to, &names)?.len() == names.len() {
            true => Ok(()),
            false => Err(Errno::NOENT),
        }
    }

    fn open(&mut self, fid: u32, flags: u32) -> Result<Qid, Errno> {
        let reply = self.ask(Message::new(kind::LOPEN).u32(fid).u32(flags))?;
        Ok(Fields(reply).qid())
    }

    fn create(&mut self, fid: u32, name: &str, flags: u32, mode: u32) -> Result<Qid, Errno> {
        let create = Message::new(kind::LCREATE).u32(fid).str(name);
        let reply = self.ask(create.u32(flags).u32(mode).u32(NO_ID))?;
        Ok(Fields(reply).qid())
    }

    fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let read = Message::new(kind::READ).u32(fid).u64(offset).u32(count);
        let mut reply = Fields(self.ask(read)?);
        let count = reply.u32();
        assert_eq!(reply.0.len(), count as usize);
        Ok(reply.0.to_vec())
    }

    fn write(&mut self, fid: u32, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let write = Message::new(kind::WRITE).u32(fid).u64(offset);
        let write = write.u32(bytes.len() as u32).bytes(bytes);
        Ok(Fields(self.ask(write)?).u32())
    }

    fn clunk(&mut self, fid: u32) -> Result<(), Errno> {
        self.ask(Message::new(kind::CLUNK).u32(fid)).map(drop)
    }

    fn remove(&mut self, fid: u32) -> Result<(), Errno> {
        self.ask(Message::new(kind::REMOVE).u32(fid)).map(drop)
    }

    fn attributes(&mut self, fid: u32) -> Result<Attributes, Errno> {
        let getattr = Message::new(kind::GETATTR).u32(fid).u64(0x7FF);
        let mut f = Fields(self.ask(getattr)?);
        assert_eq!((f.u64(), f.qid().version).0, 0x7FF);
        let (mode, _uid, _gid) = (f.u32(), f.u32(), f.u32());
        let (nlink, _rdev, size) = (f.u64(), f.u64(), f.u64());
        let (_blksize, _blocks) = (f.u64(), f.u64());
        let (atime, mtime) = ((f.u64(), f.u64()), (f.u64(), f.u64()));
        assert_eq!(f.0.len(), 16 + 16 + 8 + 8);
        Ok(Attributes {
            mode,
            nlink,
            size,
            atime,
            mtime,
        })
    }

    fn mkdir(&mut self, dir: u32, name: &str, mode: u32) -> Result<Qid, Errno> {
        let mkdir = Message::new(kind::MKDIR).u32(dir).str(name);
        let reply = self.ask(mkdir.u32(mode).u32(NO_ID))?;
        Ok(Fields(reply).qid())
    }

    fn symlink(&mut self, dir: u32, name: &str, target: &str) -> Result<Qid, Errno> {
        let symlink = Message::new(kind::SYMLINK).u32(dir).str(name).str(target);
        Ok(Fields(self.ask(symlink.u32(NO_ID))?).qid())
    }

    fn readlink(&mut self, fid: u32) -> Result<Vec<u8>, Errno> {
        let reply = self.ask(Message::new(kind::READLINK).u32(fid))?;
        Ok(Fields(reply).str().to_vec())
    }

    fn mknod(&mut self, dir: u32, name: &str, mode: u32) -> Result<Qid, Errno> {
        let mknod = Message::new(kind::MKNOD).u32(dir).str(name).u32(mode);
        let reply = self.ask(mknod.u32(1).u32(3).u32(NO_ID))?;
        Ok(Fields(reply).qid())
    }

    fn link(&mut self, dir: u32, fid: u32, name: &str) -> Result<(), Errno> {
        let link = Message::new(kind::LINK).u32(dir).u32(fid).str(name);
        self.ask(link).map(drop)
    }

    fn rename(&mut self, fid: u32, dir: u32, name: &str) -> Result<(), Errno> {
        let rename = Message::new(kind::RENAME).u32(fid).u32(dir).str(name);
        self.ask(rename).map(drop)
    }

    fn renameat(&mut self, from: u32, old: &str, to: u32, new: &str) -> Result<(), Errno> {
        let rename = Message::new(kind::RENAMEAT).u32(from).str(old);
        self.ask(rename.u32(to).str(new)).map(drop)
    }

    fn unlinkat(&mut self, dir: u32, name: &str, flags: u32) -> Result<(), Errno> {
        let unlink = Message::new(kind::UNLINKAT).u32(dir).str(name).u32(flags);
        self.ask(unlink).map(drop)
    }

    /// Names, types and places of a part of a directory.
    fn readdir(
        &mut self,
        fid: u32,
        place: u64,
        count: u32,
    ) -> Result<Vec<(String, u8, u64)>, Errno> {
        let readdir = Message::new(kind::READDIR).u32(fid).u64(place).u32(count);
        let mut f = Fields(self.ask(readdir)?);
        assert_eq!(f.u32() as usize, f.0.len());
        let mut entries = Vec::new();
        while !f.0.is_empty() {
            let _qid = f.qid();
            let (place, kind) = (f.u64(), f.u8());
            let name = String::from_utf8(f.str().to_vec()).unwrap();
            entries.push((name, kind, place));
        }
        Ok(entries)
    }

    /// A `Tsetattr` with the given fields valid; the rest of its numbers are nonsense.
    fn setattr(&mut self, fid: u32, valid: u32, fields: SetFields) -> Result<(), Errno> {
        let SetFields {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        } = fields;
        let setattr = Message::new(kind::SETATTR).u32(fid).u32(valid);
        let setattr = setattr.u32(mode).u32(uid).u32(gid).u64(size);
        let setattr = setattr.u64(atime.0).u64(atime.1).u64(mtime.0).u64(mtime.1);
        self.ask(setattr).map(drop)
    }
}

#[derive(Default)]
struct SetFields {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    atime: (u64, u64),
    mtime: (u64, u64),
}

fn options() -> Options {
    Options {
        readonly: false,
        setid: false,
        give_away: false,
        limits: LIMITS,
    }
}
