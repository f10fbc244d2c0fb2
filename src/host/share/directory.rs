//! An open directory, read in pieces that the guest chooses.
//!
//! The guest's place in it is the number of entries before, not the host's own: ext4's, for one,
//! has 63 bits, and a C library of a 32-bit guest without large file support refuses a directory
//! whose places do not fit its `off_t`.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, SeekFrom};
use rustix::io::Errno;

/// Bytes of the host's entries that are read at once.
const BUFFER: usize = 16 << 10;

/// Entries from one place that is remembered to the next, while the directory is small.
const BETWEEN_MARKS: u64 = 64;

/// Places that are remembered: 1 KiB for a directory of any size. Beyond, every other is forgotten,
/// so going back reads again at most a thirty-second part of the entries.
const MOST_MARKS: usize = 64;

/// An entry, as the host has it.
pub struct Entry<'a> {
    /// The entry's name, `.` and `..` among them.
    pub name: &'a [u8],
    /// The file's type, which a file system may not say.
    pub kind: FileType,
    /// The file's inode number.
    pub ino: u64,
    /// The place after it.
    pub next: u64,
}

/// A place in the directory: the guest's and the host's.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    entries: u64,
    cookie: u64,
}

/// Places to go back to, in order.
struct Marks {
    places: Vec<Mark>,
    /// Entries from one to the next.
    between: u64,
}

impl Marks {
    fn new() -> Self {
        Marks {
            places: Vec::new(),
            between: BETWEEN_MARKS,
        }
    }

    /// Remembers a place, if it is far enough from the one before.
    fn note(&mut self, place: Mark) {
        let last = self.places.last().map_or(0, |mark| mark.entries);
        if place.entries < last + self.between {
            return;
        }
        if self.places.len() == MOST_MARKS {
            self.between *= 2;
            let between = self.between;
            self.places.retain(|mark| mark.entries % between == 0);
        }
        self.places.push(place);
    }

    /// The last one that is not after `place`; the start when there is none.
    fn before(&self, place: u64) -> Mark {
        let before = self.places.iter().rfind(|mark| mark.entries <= place);
        before.copied().unwrap_or_default()
    }
}

/// An open directory.
pub struct Directory {
    fd: OwnedFd,
    /// Where the descriptor stands.
    at: Mark,
    marks: Marks,
    /// The furthest place that the guest was told.
    furthest: u64,
}

impl Directory {
    /// Over a descriptor that is open for reading and used for nothing else.
    pub fn new(fd: OwnedFd) -> Self {
        Directory {
            fd,
            at: Mark::default(),
            marks: Marks::new(),
            furthest: 0,
        }
    }

    /// The descriptor, for all but reading entries.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// How many places it remembers.
    #[cfg(test)]
    pub fn marks(&self) -> usize {
        self.marks.places.len()
    }

    /// Gives the entries after the first `place` ones to `put`, until it refuses one or there are
    /// no more; says whether it refused one.
    ///
    /// # Errors
    /// `EINVAL` for a place that no entry gave; else what the host says.
    pub fn read(&mut self, place: u64, put: impl FnMut(Entry) -> bool) -> Result<bool, Errno> {
        if place > self.furthest {
            return Err(Errno::INVAL);
        }
        if place == 0 {
            // Read anew, as rewinddir asks.
            self.marks = Marks::new();
            self.furthest = 0;
        }
        if place != self.at.entries || place == 0 {
            self.seek(self.marks.before(place))?;
        }
        let result = self.read_from_here(place, put);
        if result.is_err() {
            // The descriptor may stand anywhere: the next read seeks.
            self.at.entries = u64::MAX;
        }
        result
    }

    fn seek(&mut self, mark: Mark) -> Result<(), Errno> {
        self.at.entries = u64::MAX;
        rustix::fs::seek(&self.fd, SeekFrom::Start(mark.cookie))?;
        self.at = mark;
        Ok(())
    }

    fn read_from_here(
        &mut self,
        place: u64,
        mut put: impl FnMut(Entry) -> bool,
    ) -> Result<bool, Errno> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        let mut refused = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let after = Mark {
                entries: self.at.entries + 1,
                cookie: entry.next_entry_cookie(),
            };
            if after.entries > place {
                let taken = put(Entry {
                    name: entry.file_name().to_bytes(),
                    kind: entry.file_type(),
                    ino: entry.ino(),
                    next: after.entries,
                });
                if !taken {
                    refused = true;
                    break;
                }
            }
            self.at = after;
            self.furthest = self.furthest.max(after.entries);
            self.marks.note(after);
        }
        if refused {
            self.seek(self.at)?;
        }
        Ok(refused)
    }
}
