//! A device tree in memory, and the reader that makes one from a blob.
//!
//! The format is the flattened device tree of the Devicetree Specification, chapter 5, versions 16
//! and 17. The blob is a user's file: any bytes at all give a tree or an error, never a panic, and
//! the tree is never larger than the blob by more than a constant factor.

use std::borrow::Cow;
use std::fmt;

/// The first word of every blob.
pub const MAGIC: u32 = 0xD00D_FEED;
pub(crate) const HEADER_SIZE: usize = 40;
pub(crate) const BEGIN_NODE: u32 = 1;
pub(crate) const END_NODE: u32 = 2;
pub(crate) const PROP: u32 = 3;
const NOP: u32 = 4;
pub(crate) const END: u32 = 9;

/// How deep nodes may nest: as deep as Linux allows.
const MAX_DEPTH: usize = 64;

/// The longest name, in bytes. The specification ends at 31; a limit is needed because any number
/// of properties can share one name of the strings block, and each gets its own copy here.
const MAX_NAME: usize = 255;

/// How many nodes and properties a tree may have: twenty times as many as the largest tree in
/// Linux. In memory one takes many times what it takes in the blob.
const MAX_ITEMS: usize = 1 << 18;

/// How many ranges may be reserved. Linux has room for 128 at that time.
const MAX_RESERVATIONS: usize = 1024;

/// A whole device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Memory that the guest must leave alone.
    pub reservations: Vec<Reservation>,
    /// The number of the processor that boots.
    pub boot_cpuid: u32,
    /// The node `/`, whose name is empty.
    pub root: Node,
}

/// A range of physical memory that the guest must leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// First address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A node: its properties, then its children, each in the order of the blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name with unit address, such as `serial@ef600300`.
    pub name: String,
    /// The node's properties.
    pub properties: Vec<Property>,
    /// The nodes below.
    pub children: Vec<Node>,
}

/// A property: a name and bytes whose meaning the name implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The property's name.
    pub name: String,
    /// The value; numbers in it are big-endian.
    pub value: Vec<u8>,
}

/// Why bytes are not a device tree blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset:#x}: {fault}")]
pub struct BlobError {
    /// Where in the file, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub fault: BlobFault,
}

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    /// Fewer bytes than a header.
    #[error("the file ends inside the {HEADER_SIZE}-byte header; it has {0} bytes")]
    NoHeader(usize),
    /// The first word is another.
    #[error(
        "the first word is {0:#010x}, not {MAGIC:#010x}; compile device tree source with 'dtc -O dtb'"
    )]
    Magic(u32),
    /// The blob claims more bytes than there are, or fewer than a header.
    #[error(
        "the blob claims {claimed} bytes, but the file has {actual}; it is truncated or corrupt"
    )]
    TotalSize {
        /// The header's totalsize.
        claimed: usize,
        /// The file's length.
        actual: usize,
    },
    /// Not version 16 or 17 or compatible with them.
    #[error(
        "version {version} (compatible back to {last_compatible}) cannot be read; recompile with 'dtc -V 17'"
    )]
    Version {
        /// The header's version.
        version: u32,
        /// The header's last_comp_version.
        last_compatible: u32,
    },
    /// A block that the header points to lies outside the blob, or is not aligned.
    #[error("the {block} block at {start:#x} is outside the blob of {total} bytes, or misaligned")]
    Block {
        /// Which block.
        block: &'static str,
        /// Where the header says it starts.
        start: usize,
        /// The header's totalsize.
        total: usize,
    },
    /// A block ends before what it holds does.
    #[error("the {0} block ends here, in the middle of its contents")]
    Ends(&'static str),
    /// A word that is no token stands where one must be.
    #[error("{0:#x} is not a structure token")]
    Token(u32),
    /// A token in a place where it cannot be.
    #[error("a {0} token cannot stand here")]
    Misplaced(&'static str),
    /// A name with characters that device trees do not allow, or an empty one.
    #[error("the name {0:?} is empty or has a character that device trees do not allow")]
    Name(String),
    /// A name that does not end where names must.
    #[error("a name is longer than {MAX_NAME} bytes")]
    NameLength,
    /// A property's name lies outside the strings block.
    #[error("the property's name is at {0:#x} of the strings block, which is outside it")]
    NameOffset(usize),
    /// More nodes and properties than any board has.
    #[error("the tree has more than {MAX_ITEMS} nodes and properties")]
    Items,
    /// More reserved ranges than any board has.
    #[error("more than {MAX_RESERVATIONS} ranges of memory are reserved")]
    Reservations,
    /// Nodes nest deeper than Linux allows.
    #[error("nodes nest deeper than {MAX_DEPTH}")]
    Depth,
}

/// Reads big-endian words and names from a slice, with errors that say where.
#[derive(Clone, Copy)]
struct Reader<'a> {
    blob: &'a [u8],
    block: &'static str,
    position: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, fault: BlobFault) -> BlobError {
        BlobError {
            offset: self.position,
            fault,
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], BlobError> {
        let end = self
            .position
            .checked_add(count)
            .filter(|end| *end <= self.end);
        let bytes = end.and_then(|end| self.blob.get(self.position..end));
        match bytes {
            Some(bytes) => {
                self.position += count;
                Ok(bytes)
            }
            None => Err(self.error(BlobFault::Ends(self.block))),
        }
    }

    fn word(&mut self) -> Result<u32, BlobError> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }

    fn double_word(&mut self) -> Result<u64, BlobError> {
        let bytes = self.bytes(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }

    /// Bytes up to a NUL, which is consumed.
    fn string(&mut self) -> Result<&'a [u8], BlobError> {
        let rest = self.blob.get(self.position..self.end).unwrap_or_default();
        match rest.iter().take(MAX_NAME + 1).position(|byte| *byte == 0) {
            Some(length) => {
                self.position += length + 1;
                Ok(&rest[..length])
            }
            None if rest.len() > MAX_NAME => Err(self.error(BlobFault::NameLength)),
            None => Err(self.error(BlobFault::Ends(self.block))),
        }
    }

    /// Skips to the next multiple of four, counted from the start of the blob, as offsets are.
    fn align(&mut self) -> Result<(), BlobError> {
        let padding = self.position.wrapping_neg() % 4;
        self.bytes(padding).map(|_| ())
    }
}

/// The characters that dtc reads in names; a superset of the specification's.
fn name_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b",._+*#?@-".contains(&byte)
}

pub(crate) fn checked_name(bytes: &[u8]) -> Result<String, BlobFault> {
    let name = String::from_utf8_lossy(bytes).into_owned();
    if bytes.is_empty() || !bytes.iter().copied().all(name_character) {
        return Err(BlobFault::Name(name));
    }
    Ok(name)
}

impl Tree {
    /// Reads a blob; bytes after its `totalsize` are ignored.
    pub fn parse(file: &[u8]) -> Result<Tree, BlobError> {
        let mut header = Reader {
            blob: file,
            block: "header",
            position: 0,
            end: file.len(),
        };
        if file.len() < HEADER_SIZE {
            return Err(header.error(BlobFault::NoHeader(file.len())));
        }
        let at = |offset: usize, fault: BlobFault| BlobError { offset, fault };
        let magic = header.word()?;
        if magic != MAGIC {
            return Err(at(0, BlobFault::Magic(magic)));
        }
        let total = header.word()? as usize;
        if total < HEADER_SIZE || total > file.len() {
            let fault = BlobFault::TotalSize {
                claimed: total,
                actual: file.len(),
            };
            return Err(at(4, fault));
        }
        let structure_start = header.word()? as usize;
        let strings_start = header.word()? as usize;
        let reservations_start = header.word()? as usize;
        let version = header.word()?;
        let last_compatible = header.word()?;
        if version < 16 || last_compatible > 17 {
            return Err(at(
                20,
                BlobFault::Version {
                    version,
                    last_compatible,
                },
            ));
        }
        let boot_cpuid = header.word()?;
        let strings_size = header.word()? as usize;
        let structure_size = header.word()? as usize;

        let blob = &file[..total];
        let block = |field: usize, block, start: usize, size: Option<usize>, alignment: usize| {
            let end = size.map_or(Some(total), |size| start.checked_add(size));
            match end {
                Some(end) if end <= total && start <= end && start.is_multiple_of(alignment) => {
                    Ok(Reader {
                        blob,
                        block,
                        position: start,
                        end,
                    })
                }
                _ => Err(at(
                    field,
                    BlobFault::Block {
                        block,
                        start,
                        total,
                    },
                )),
            }
        };
        // Version 16 does not say how long the structure block is; its last token does.
        let structure_size = (version >= 17).then_some(structure_size);
        let structure = block(8, "structure", structure_start, structure_size, 4)?;
        let strings = block(12, "strings", strings_start, Some(strings_size), 1)?;
        let reservations = block(16, "memory reservation", reservations_start, None, 8)?;

        Ok(Tree {
            reservations: read_reservations(reservations)?,
            boot_cpuid,
            root: read_structure(structure, strings)?,
        })
    }

    /// How many nodes and properties the tree has.
    pub fn items(&self) -> usize {
        fn items(node: &Node) -> usize {
            1 + node.properties.len() + node.children.iter().map(items).sum::<usize>()
        }
        items(&self.root)
    }

    /// The node at an absolute path of full names, such as `/plb/opb`.
    pub fn node(&self, path: &str) -> Option<&Node> {
        let names = path.strip_prefix('/')?;
        let mut names = names.split('/').filter(|name| !name.is_empty());
        names.try_fold(&self.root, |node, name| node.child(name))
    }
}

fn read_reservations(mut reader: Reader<'_>) -> Result<Vec<Reservation>, BlobError> {
    let mut list = Vec::new();
    loop {
        let address = reader.double_word()?;
        let size = reader.double_word()?;
        if address == 0 && size == 0 {
            return Ok(list);
        }
        if list.len() == MAX_RESERVATIONS {
            return Err(reader.error(BlobFault::Reservations));
        }
        list.push(Reservation { address, size });
    }
}

fn read_structure(mut reader: Reader<'_>, strings: Reader<'_>) -> Result<Node, BlobError> {
    // The nodes that are open, outermost first.
    let mut open: Vec<Node> = Vec::new();
    let mut root = None;
    let mut items = 0;
    loop {
        let start = reader.position;
        let at = |fault| BlobError {
            offset: start,
            fault,
        };
        let token = reader.word()?;
        items += usize::from(token == BEGIN_NODE || token == PROP);
        if items > MAX_ITEMS {
            return Err(at(BlobFault::Items));
        }
        match token {
            BEGIN_NODE => {
                if root.is_some() {
                    return Err(at(BlobFault::Misplaced("begin-node")));
                }
                if open.len() == MAX_DEPTH {
                    return Err(at(BlobFault::Depth));
                }
                let bytes = reader.string()?;
                reader.align()?;
                let name = if open.is_empty() && bytes.is_empty() {
                    String::new()
                } else {
                    checked_name(bytes).map_err(at)?
                };
                open.push(Node {
                    name,
                    ..Node::default()
                });
            }
            END_NODE => {
                let node = open.pop().ok_or(at(BlobFault::Misplaced("end-node")))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => root = Some(node),
                }
            }
            PROP => {
                // Readers find properties only before a node's children, so one after them would
                // be silently lost on the way to the guest.
                let node = open.last_mut().filter(|node| node.children.is_empty());
                let node = node.ok_or(at(BlobFault::Misplaced("property")))?;
                let length = reader.word()? as usize;
                let name_offset = reader.word()? as usize;
                let value = reader.bytes(length)?.to_vec();
                reader.align()?;
                let position = strings.position.saturating_add(name_offset);
                if position >= strings.end {
                    return Err(at(BlobFault::NameOffset(name_offset)));
                }
                let name = checked_name(
                    Reader {
                        position,
                        ..strings
                    }
                    .string()?,
                )
                .map_err(at)?;
                node.properties.push(Property { name, value });
            }
            NOP => {}
            END => {
                return match root {
                    Some(root) if open.is_empty() => Ok(root),
                    _ => Err(at(BlobFault::Misplaced("end"))),
                };
            }
            other => return Err(at(BlobFault::Token(other))),
        }
    }
}

impl Node {
    /// A node without properties and children.
    pub fn new(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            ..Node::default()
        }
    }

    /// The child with this full name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The child with this full name, to change.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties
            .iter()
            .find(|property| property.name == name)
            .map(|property| property.value.as_slice())
    }

    /// A property as 32-bit cells; none where its length is no multiple of four.
    pub fn cells(&self, name: &str) -> Option<Vec<u32>> {
        let (cells, rest) = self.property(name)?.as_chunks::<4>();
        rest.is_empty()
            .then(|| cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect())
    }

    /// A property that is one 32-bit cell.
    pub fn cell(&self, name: &str) -> Option<u32> {
        Some(u32::from_be_bytes(self.property(name)?.try_into().ok()?))
    }

    /// A property as strings, without their NULs; bytes that are no UTF-8 are replaced.
    pub fn strings(&self, name: &str) -> Vec<String> {
        self.each_string(name).map(Cow::into_owned).collect()
    }

    /// A property's strings one by one. A list of them can take 24 times the property's size.
    pub fn each_string(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let value = self.property(name).into_iter();
        value
            .flat_map(|value| {
                let value = value.strip_suffix(&[0]).unwrap_or(value);
                value.split(|byte| *byte == 0)
            })
            .map(String::from_utf8_lossy)
    }

    /// The first of a property's strings.
    pub fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.each_string(name).next()
    }

    /// Gives a property this value, in its place, or at the end where there was none.
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        match self
            .properties
            .iter_mut()
            .find(|property| property.name == name)
        {
            Some(property) => property.value = value,
            None => self.properties.push(Property {
                name: name.to_owned(),
                value,
            }),
        }
    }

    /// Gives a property 32-bit cells as its value.
    pub fn set_cells(&mut self, name: &str, cells: &[u32]) {
        self.set(
            name,
            cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
        );
    }

    /// Gives a property a string as its value; the NUL is added here.
    pub fn set_string(&mut self, name: &str, text: &str) {
        self.set(name, [text.as_bytes(), &[0]].concat());
    }

    /// Removes every property of that name.
    pub fn remove(&mut self, name: &str) {
        self.properties.retain(|property| property.name != name);
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} {:#x}", self.address, self.size)
    }
}
