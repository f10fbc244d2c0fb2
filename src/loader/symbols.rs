//! A kernel's symbols, from the symbol table of an ELF file or from a `System.map`.
//!
//! They are wanted when something is reported, which is seldom, so a table is made then. Until
//! that, the file's own table is kept as it is read, in two pieces: symbols, and their names.

use super::Segment;
use super::error::Fault;
use super::source::{Data, Source};
use bytes::Bytes;
use memchr::{memchr, memmem, memrchr};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where Linux for the 440 maps physical address 0.
pub(crate) const KERNEL_BASE: u32 = 0xC000_0000;

/// The most that is read of a `System.map`, or of one piece of an ELF file's table, in bytes; a
/// kernel's has two or three million.
const LIMIT: u32 = 64 << 20;

/// How much of a name is kept, in bytes: as much as Linux does.
const NAME: usize = 512;

/// How many names of one address are compared to find the first in the alphabet, and how many places of
/// a name are looked at.
const NAMES: usize = 64;

/// A file from which no symbols can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolsError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// The file is neither an ELF file nor a `System.map`.
    #[error("{}: {reason}; give a vmlinux or a System.map", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file holds no symbols.
    #[error("{}: it has no symbols; give a vmlinux that is not stripped, or a System.map", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// One symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol {
    address: u32,
    /// In bytes; 0 when the file does not say.
    size: u32,
    /// Where its name starts among the names.
    name: u32,
    /// It is code, as far as the file says.
    code: bool,
}

/// A kernel's symbols, as its file has them.
#[derive(Debug)]
pub struct Symbols {
    file: PathBuf,
    stored: Stored,
    table: OnceLock<Table>,
}

/// A file's own table.
#[derive(Debug)]
enum Stored {
    /// Entries of [`ENTRY`] bytes, and names that each end with a zero.
    Elf { entries: Bytes, names: Bytes },
    /// Lines.
    Map(Bytes),
}

/// What addresses are looked up in.
#[derive(Debug)]
struct Table {
    /// What is code, by address; those that say how far they reach go first.
    code: Vec<Symbol>,
    /// The highest address of any symbol.
    last: u32,
}

/// A symbol and the offset of an address behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeLocation {
    /// The symbol's name.
    pub name: String,
    /// The offset behind the symbol, in bytes.
    pub offset: u32,
}

impl std::fmt::Display for CodeLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

impl Symbols {
    /// Reads the symbols of an ELF file or a `System.map`, and checks all of them.
    ///
    /// # Errors
    /// A file that cannot be read, is neither, or holds none.
    pub fn read(path: &Path) -> Result<Self, SymbolsError> {
        let symbols = Symbols::read_unchecked(path)?;
        symbols.check()?;
        Ok(symbols)
    }

    /// Reads the symbols of an ELF file or a `System.map` that nobody named: what is no symbol in it is
    /// passed over.
    pub(super) fn read_unchecked(path: &Path) -> Result<Self, SymbolsError> {
        let file = || path.to_owned();
        let source = Source::open(path, LIMIT / 2).map_err(|error| match error.fault {
            Fault::Io(error) => SymbolsError::Read {
                file: file(),
                error,
            },
            Fault::Empty => SymbolsError::Empty { file: file() },
            fault => SymbolsError::Read {
                file: file(),
                error: io::Error::other(fault),
            },
        })?;
        match read(&source, 0, 4) {
            Ok(Some(magic)) if *magic == *b"\x7fELF" => Symbols::in_elf(&source),
            _ => Symbols::in_map(&source),
        }
    }

    /// The symbol table of an ELF file, of which two pieces are read.
    pub(super) fn in_elf(source: &Source) -> Result<Self, SymbolsError> {
        let stored = elf_table(source)?;
        Ok(Symbols::new(source.name(), stored))
    }

    fn in_map(source: &Source) -> Result<Self, SymbolsError> {
        let text = match source.len() {
            len if len <= LIMIT.into() => read(source, 0, len)?,
            _ => None,
        };
        let text = text.ok_or_else(|| {
            let reason = format!(
                "it is no elf file, and too large for a System.map with more than {LIMIT} bytes"
            );
            wrong(source, reason)
        })?;
        Ok(Symbols::new(source.name(), Stored::Map(text)))
    }

    fn new(file: &Path, stored: Stored) -> Self {
        Symbols {
            file: file.to_owned(),
            stored,
            table: OnceLock::new(),
        }
    }

    /// Whether there are symbols, and each line of a map is one.
    fn check(&self) -> Result<(), SymbolsError> {
        if let Stored::Map(text) = &self.stored {
            let mut lines = lines(text).enumerate();
            let bad = lines.find(|(_, line)| !line.is_empty() && map_line(line).is_none());
            if let Some((number, _)) = bad {
                return Err(SymbolsError::Format {
                    file: self.file.clone(),
                    reason: format!(
                        "line {} is not `ADDRESS LETTER NAME` with an address of 32 bits",
                        number + 1
                    ),
                });
            }
        }
        match self.symbols().next() {
            Some(_) => Ok(()),
            None => Err(SymbolsError::Empty {
                file: self.file.clone(),
            }),
        }
    }

    /// The file that the symbols came from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the address of a name: of the first symbol in the file, if several have it.
    ///
    /// The name is searched for as text, which is a hundred times faster than looking at each symbol.
    pub fn address(&self, name: &str) -> Option<u32> {
        let symbol = match &self.stored {
            Stored::Elf { entries, names } => {
                // A name can be the end of a longer one, and be there more than once.
                let places: Vec<u32> = memmem::find_iter(names, name)
                    .filter(|at| names.get(at + name.len()) == Some(&0))
                    .filter_map(|at| at.try_into().ok())
                    .take(NAMES)
                    .collect();
                let mut entries = entries.as_chunks::<ENTRY>().0.iter();
                let is_named = |entry: &&[u8; ENTRY]| places.contains(&word(*entry, 0));
                entries.find_map(|entry| elf_symbol(Some(entry).filter(is_named)?, names))
            }
            Stored::Map(text) => memmem::find_iter(text, name).find_map(|at| {
                let start = memrchr(b'\n', &text[..at]).map_or(0, |end| end + 1);
                let end = memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end);
                let (symbol, found) = map_line(text[start..end].trim_ascii())?;
                (found == name.as_bytes()).then_some(symbol)
            }),
        };
        symbol.map(|symbol| symbol.address)
    }

    /// Returns the function that an address is in; `None` where no code is known.
    pub fn locate(&self, address: u32) -> Option<CodeLocation> {
        let Table { code, last } = self.table.get_or_init(|| self.table());
        let end = code.partition_point(|symbol| symbol.address <= address);
        let nearest = code[..end].last()?.address;
        let start = code.partition_point(|symbol| symbol.address < nearest);
        let size = code[start].size;
        // Of several names for one address the first in the alphabet, whatever the file's order;
        // those that say how far they reach go first.
        let same = code[start..end]
            .iter()
            .filter(|symbol| (symbol.size == 0) == (size == 0));
        let symbol = same.take(NAMES).min_by_key(|symbol| self.name(symbol))?;
        let offset = address - symbol.address;
        // After the end of the last function is no code of its own.
        let known = match symbol.size {
            0 => *last > address,
            size => offset < size,
        };
        known.then(|| CodeLocation {
            name: String::from_utf8_lossy(self.name(symbol)).into_owned(),
            offset,
        })
    }

    fn table(&self) -> Table {
        let last = self.symbols().map(|symbol| symbol.address).max();
        let mut code: Vec<Symbol> = self.symbols().filter(|symbol| symbol.code).collect();
        code.sort_by_key(|symbol| (symbol.address, symbol.size == 0));
        Table {
            code,
            last: last.unwrap_or(0),
        }
    }

    /// The symbols in the order of the file.
    fn symbols(&self) -> Box<dyn Iterator<Item = Symbol> + '_> {
        match &self.stored {
            Stored::Elf { entries, names } => {
                let entries = entries.as_chunks::<ENTRY>().0.iter();
                Box::new(entries.filter_map(|entry| elf_symbol(entry, names)))
            }
            Stored::Map(text) => Box::new(lines(text).filter_map(|line| {
                let (symbol, name) = map_line(line)?;
                let name = name.as_ptr().addr() - text.as_ptr().addr();
                let name = u32::try_from(name).ok()?;
                Some(Symbol { name, ..symbol })
            })),
        }
    }

    /// The names, and the byte after each.
    fn names(&self) -> (&[u8], fn(u8) -> bool) {
        match &self.stored {
            Stored::Elf { names, .. } => (names, |byte| byte == 0),
            Stored::Map(text) => (text, |byte| byte.is_ascii_whitespace()),
        }
    }

    fn name(&self, symbol: &Symbol) -> &[u8] {
        let (names, ends) = self.names();
        let rest = names.get(symbol.name as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(NAME)];
        let length = rest.iter().position(|byte| ends(*byte));
        &rest[..length.unwrap_or(rest.len())]
    }
}

/// Bytes of an entry of a 32-bit file's symbol table.
const ENTRY: usize = 16;

fn read(source: &Source, offset: u64, len: u64) -> Result<Option<Bytes>, SymbolsError> {
    let data: &Data = source.data();
    data.read(offset, len).map_err(|error| SymbolsError::Read {
        file: source.name().to_owned(),
        error,
    })
}

fn wrong(source: &Source, reason: impl Into<String>) -> SymbolsError {
    SymbolsError::Format {
        file: source.name().to_owned(),
        reason: reason.into(),
    }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

fn half(bytes: &[u8], offset: usize) -> u16 {
    let half = bytes.get(offset..).and_then(|rest| rest.first_chunk::<2>());
    half.map_or(0, |half| u16::from_be_bytes(*half))
}

/// The symbol table of a 32-bit big-endian ELF file, by the section headers.
fn elf_table(source: &Source) -> Result<Stored, SymbolsError> {
    const HEADER: u64 = 52;
    const SECTION: usize = 40;
    const SYMBOL_TABLE: u32 = 2;
    let cut = || wrong(source, "the elf file is truncated");
    let header = read(source, 0, HEADER)?.ok_or_else(cut)?;
    if header[4..6] != [1, 2] {
        return Err(wrong(source, "it is no 32-bit big-endian elf file"));
    }
    let none = || SymbolsError::Empty {
        file: source.name().to_owned(),
    };
    let (start, size, count) = (word(&header, 32), half(&header, 46), half(&header, 48));
    if usize::from(size) != SECTION || count == 0 {
        return Err(none());
    }
    let table = read(source, start.into(), u64::from(count) * SECTION as u64)?.ok_or_else(cut)?;
    let sections = table.as_chunks::<SECTION>().0;
    let symbols = sections
        .iter()
        .find(|section| word(*section, 4) == SYMBOL_TABLE);
    let symbols = symbols.ok_or_else(none)?;
    let names = sections.get(word(symbols, 24) as usize);
    let names = names.ok_or_else(|| wrong(source, "its symbols have no names"))?;
    let piece = |section: &[u8; SECTION]| {
        let (offset, size) = (word(section, 16), word(section, 20));
        if size > LIMIT {
            return Err(wrong(
                source,
                format!("its symbol table has more than {LIMIT} bytes"),
            ));
        }
        read(source, offset.into(), size.into())?.ok_or_else(cut)
    };
    Ok(Stored::Elf {
        entries: piece(symbols)?,
        names: piece(names)?,
    })
}

/// An entry that is a name for an address.
fn elf_symbol(entry: &[u8; ENTRY], names: &[u8]) -> Option<Symbol> {
    const UNDEFINED: u16 = 0;
    /// From here on, indexes of sections are none; 0xFFFF says that the index is elsewhere.
    const SPECIAL: u16 = 0xFF00;
    let section = half(entry, 14);
    let is_defined = section != UNDEFINED && (section < SPECIAL || section == 0xFFFF);
    let code = match entry[12] & 0xF {
        // Assembly's labels have no type.
        0 => is_defined,
        1 => false,
        2 | 10 => true,
        _ => return None,
    };
    let name = word(entry, 0);
    // Also the first entry, which is all zeros.
    let is_named = names.get(name as usize).is_some_and(|byte| *byte != 0);
    is_named.then_some(Symbol {
        address: word(entry, 4),
        size: word(entry, 8),
        name,
        code,
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

/// A line of an address, a letter and a name: `c0000000 T _stext`.
fn map_line(line: &[u8]) -> Option<(Symbol, &[u8])> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let address = std::str::from_utf8(words.next()?).ok()?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let [letter] = words.next()? else {
        return None;
    };
    let name = words.next()?;
    let symbol = Symbol {
        address,
        size: 0,
        name: 0,
        code: matches!(letter, b't' | b'T' | b'w' | b'W'),
    };
    Some((symbol, name))
}

/// The `System.map` beside a kernel's file, or at the top of the build directory that it is in. It
/// is taken only if the kernel's banner is where the map says.
pub(super) fn beside(kernel: &Path, segments: &[Segment]) -> Option<std::sync::Arc<Symbols>> {
    let folder = kernel.parent()?;
    let top = folder
        .ends_with("arch/powerpc/boot")
        .then(|| folder.ancestors().nth(3))
        .flatten();
    let mut folders = [Some(folder), top].into_iter().flatten();
    folders.find_map(|folder| {
        let path = folder.join("System.map");
        // What only has that name (a pipe, say) is not for us to read.
        let symbols = path
            .is_file()
            .then(|| Symbols::read_unchecked(&path).ok())
            .flatten()?;
        symbols.belong_to(segments).then(|| symbols.into())
    })
}

impl Symbols {
    /// Whether they are those of a kernel in memory: its banner is where they say.
    fn belong_to(&self, segments: &[Segment]) -> bool {
        let banner = self.address("linux_banner");
        let gpa = banner.and_then(|banner| banner.checked_sub(KERNEL_BASE));
        gpa.is_some_and(|gpa| {
            segments.iter().any(|segment| {
                let offset = gpa.checked_sub(segment.gpa);
                let rest = offset.and_then(|offset| segment.bytes.get(offset as usize..));
                rest.is_some_and(|rest| rest.starts_with(b"Linux version "))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &'static [u8]) -> Result<Symbols, SymbolsError> {
        let symbols = Symbols::new("map".as_ref(), Stored::Map(Bytes::from_static(text)));
        symbols.check().map(|()| symbols)
    }

    #[test]
    fn an_address_is_placed_in_the_function_before_it() {
        let symbols = map(b"c0000000 T _text\nc0000000 T _stext\nc0000100 t helper\n\
            c0000200 D data\nc0000300 T last\nc0000400 B end\n")
        .unwrap();
        let place = |address| symbols.locate(address).map(|place| place.to_string());
        assert_eq!(place(0xC000_0000).as_deref(), Some("_stext+0x0"));
        assert_eq!(place(0xC000_00FC).as_deref(), Some("_stext+0xfc"));
        assert_eq!(place(0xC000_0104).as_deref(), Some("helper+0x4"));
        assert_eq!(place(0xC000_0304).as_deref(), Some("last+0x4"));
        assert_eq!(place(0xBFFF_FFFC), None);
        assert_eq!(place(0xC000_0404), None);
        assert_eq!(symbols.address("data"), Some(0xC000_0200));
        assert_eq!(symbols.address("dat"), None);
        assert_eq!(symbols.address("nothing"), None);
        assert_eq!(symbols.address("end"), Some(0xC000_0400));
        assert_eq!(symbols.address("las"), None);
        assert_eq!(symbols.address("T"), None);
    }

    #[test]
    fn what_is_no_map_is_refused_with_its_line() {
        for text in [
            &b"c0000000 T _stext\nhello\n"[..],
            b"c0000000 T _stext\nc0000000 T\n",
            b"c0000000 T _stext\nc0000000 TT x\n",
            b"c0000000 T _stext\nffffffffc0000000 T x\n",
        ] {
            assert!(map(text).unwrap_err().to_string().contains("line 2"));
        }
        assert!(matches!(map(b"\n\n"), Err(SymbolsError::Empty { .. })));
    }
}
