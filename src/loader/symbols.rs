//! A kernel's symbols, from the symbol table of an ELF file or from a `System.map`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile32;
use object::{Object, ObjectSymbol, ReadCache, ReadRef, SymbolKind};

/// Where Linux for the 440 maps physical address 0.
pub(crate) const KERNEL_BASE: u32 = 0xC000_0000;

/// The largest `System.map` that is read, in bytes; a kernel's has two or three million.
const MAP_LIMIT: u64 = 64 << 20;

/// Why a file gives no symbols.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolsError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// The file is something else.
    #[error("{}: {reason}; give a vmlinux or a System.map", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbol {
    address: u32,
    /// In bytes; 0 when the file does not say.
    size: u32,
    name: String,
    /// It is code, as far as the file says.
    code: bool,
}

/// A table of symbols.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// By address.
    table: Vec<Symbol>,
}

/// A symbol and how far behind it an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The symbol's name.
    pub name: String,
    /// In bytes.
    pub offset: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

impl Symbols {
    /// Reads the symbols of an ELF file or a `System.map`.
    ///
    /// # Errors
    /// A file that cannot be read, is neither, or holds none.
    pub fn read(path: &Path) -> Result<Self, SymbolsError> {
        let failed = |error| SymbolsError::Read {
            file: path.to_owned(),
            error,
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = Vec::new();
        (&mut file)
            .take(4)
            .read_to_end(&mut magic)
            .map_err(failed)?;
        file.rewind().map_err(failed)?;
        let wrong = |reason: String| SymbolsError::Format {
            file: path.to_owned(),
            reason,
        };
        let symbols = if magic == *b"\x7FELF" {
            elf(&ReadCache::new(file)).map_err(|error| wrong(error.to_string()))?
        } else {
            let mut text = Vec::new();
            file.take(MAP_LIMIT)
                .read_to_end(&mut text)
                .map_err(failed)?;
            map(&text).map_err(wrong)?
        };
        match symbols.table.is_empty() {
            true => Err(SymbolsError::Empty {
                file: path.to_owned(),
            }),
            false => Ok(symbols),
        }
    }

    fn new(mut table: Vec<Symbol>) -> Self {
        // Of several names for one address the first in the alphabet, whatever the file's order;
        // those that say how far they reach go first.
        table.sort_by(|a, b| {
            (a.address, a.size == 0, &a.name).cmp(&(b.address, b.size == 0, &b.name))
        });
        Symbols { table }
    }

    /// The address of a name.
    pub fn address(&self, name: &str) -> Option<u32> {
        let symbol = self.table.iter().find(|symbol| symbol.name == name)?;
        Some(symbol.address)
    }

    /// The code that an address is in.
    pub fn place(&self, address: u32) -> Option<Place> {
        let end = self
            .table
            .partition_point(|symbol| symbol.address <= address);
        let last = self.table[..end].iter().rev().find(|symbol| symbol.code)?;
        let same = self
            .table
            .partition_point(|symbol| symbol.address < last.address);
        let symbol = self.table[same..end].iter().find(|symbol| symbol.code)?;
        let offset = address - symbol.address;
        // Behind the end of the last function is no code of its own.
        let known = match symbol.size {
            0 => end < self.table.len(),
            size => offset < size,
        };
        known.then(|| Place {
            name: symbol.name.clone(),
            offset,
        })
    }
}

fn elf<'data, R: ReadRef<'data>>(data: R) -> object::Result<Symbols> {
    let file = ElfFile32::<object::BigEndian, R>::parse(data)?;
    let symbols = file.symbols().filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| !name.is_empty())?;
        let code = match symbol.kind() {
            SymbolKind::Text => true,
            SymbolKind::Data => false,
            // Assembly's labels have no type.
            SymbolKind::Label | SymbolKind::Unknown => symbol.is_definition(),
            _ => return None,
        };
        Some(Symbol {
            address: u32::try_from(symbol.address()).ok()?,
            size: u32::try_from(symbol.size()).ok()?,
            name: name.to_owned(),
            code,
        })
    });
    Ok(Symbols::new(symbols.collect()))
}

/// Lines of an address, a letter and a name: `c0000000 T _stext`.
fn map(text: &[u8]) -> Result<Symbols, String> {
    let mut table = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let symbol = std::str::from_utf8(line).ok().and_then(map_line);
        let Some(symbol) = symbol else {
            return Err(format!(
                "line {} is not `ADDRESS LETTER NAME` with an address of 32 bits",
                number + 1
            ));
        };
        table.push(symbol);
    }
    Ok(Symbols::new(table))
}

fn map_line(line: &str) -> Option<Symbol> {
    let mut words = line.split_ascii_whitespace();
    let address = u32::from_str_radix(words.next()?, 16).ok()?;
    let letter = words.next().filter(|word| word.len() == 1)?;
    let name = words.next()?;
    Some(Symbol {
        address,
        size: 0,
        name: name.to_owned(),
        code: matches!(letter, "t" | "T" | "w" | "W"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Symbols {
        let text = b"c0000000 T _stext\nc0000000 T _text\nc0000100 t helper\n\
            c0000200 D data\nc0000300 T last\nc0000400 B end\n";
        map(text).unwrap()
    }

    #[test]
    fn an_address_is_placed_in_the_function_before_it() {
        let symbols = table();
        let place = |address| symbols.place(address).map(|place| place.to_string());
        assert_eq!(place(0xC000_0000).as_deref(), Some("_stext+0x0"));
        assert_eq!(place(0xC000_00FC).as_deref(), Some("_stext+0xfc"));
        assert_eq!(place(0xC000_0104).as_deref(), Some("helper+0x4"));
        assert_eq!(place(0xC000_0304).as_deref(), Some("last+0x4"));
        assert_eq!(place(0xBFFF_FFFC), None);
        assert_eq!(place(0xC000_0404), None);
        assert_eq!(symbols.address("data"), Some(0xC000_0200));
        assert_eq!(symbols.address("nothing"), None);
    }

    #[test]
    fn what_is_no_map_is_refused_with_its_line() {
        for text in [
            "hello\n",
            "c0000000 T\n",
            "c0000000 TT x\n",
            "ffffffffc0000000 T x\n",
        ] {
            let text = format!("c0000000 T _stext\n{text}");
            assert!(map(text.as_bytes()).unwrap_err().contains("line 2"));
        }
    }
}
