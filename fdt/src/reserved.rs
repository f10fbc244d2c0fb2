//! What a tree says of memory that must be left alone, as Linux for PowerPC reads it.
//!
//! | place | what it keeps |
//! |---|---|
//! | the blob's reservations (`/memreserve/`) | each range |
//! | `/reserved-memory/*`, `reg` | each range; without `reg`, Linux chooses the place itself |
//! | `/`, `reserved-ranges` | pairs of two cells each |
//! | memory nodes, `linux,usable-memory` | all that it leaves out |
//! | `/chosen`, `linux,crashkernel-base` and `-size` | that range |
//! | `/chosen`, `linux,memory-limit` | all from there on |

use crate::blob::Node;
use crate::patch::{UserTree, describes_memory};
use std::borrow::Cow;

/// A range of memory that is kept for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// First physical address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What keeps it, for messages.
    pub by: String,
}

/// How many ranges of one kind are looked at; Linux has room for 128 in all at that time.
const MAX_RANGES: usize = 1024;

impl UserTree {
    /// The ranges that the tree keeps, in no order; they may overlap. Of each kind the first 1024:
    /// Linux takes fewer.
    pub fn kept_memory(&self) -> Vec<Kept> {
        let root = &self.tree().root;
        let mut kept: Vec<Kept> = self
            .tree()
            .reservations
            .iter()
            .filter_map(|range| keep(range.address, range.size, "/memreserve/"))
            .collect();
        let cells = Cells::of(root);
        if let Some(reserved) = root.child("reserved-memory") {
            let nodes = reserved.children.iter().filter(|node| is_available(node));
            for node in nodes.take(MAX_RANGES) {
                let by = format!("/reserved-memory/{}", node.name);
                kept.extend(
                    cells
                        .ranges(node, "reg")
                        .filter_map(|(a, s)| keep(a, s, &by)),
                );
            }
        }
        let pairs = Cells {
            address: 2,
            size: 2,
        };
        let ranges = pairs.ranges(root, "reserved-ranges");
        kept.extend(ranges.filter_map(|(a, s)| keep(a, s, "/reserved-ranges")));
        kept.extend(unusable(root, cells));
        if let Some(chosen) = root.child("chosen") {
            let cell = |name| chosen.cell(name).map(u64::from);
            let crash = cell("linux,crashkernel-base").zip(cell("linux,crashkernel-size"));
            kept.extend(crash.and_then(|(a, s)| keep(a, s, "/chosen/linux,crashkernel-base")));
        }
        kept
    }

    /// How many bytes from address 0 `/chosen` lets the kernel use.
    pub fn memory_limit(&self) -> Option<u64> {
        let limit = self
            .tree()
            .root
            .child("chosen")?
            .cell("linux,memory-limit")?;
        (limit != 0).then_some(limit.into())
    }

    /// The command line in `/chosen`.
    pub fn bootargs(&self) -> Option<Cow<'_, str>> {
        self.tree().root.child("chosen")?.string("bootargs")
    }
}

/// A range that is not empty, and does not end beyond the address space.
fn keep(start: u64, size: u64, by: &str) -> Option<Kept> {
    (size != 0).then(|| Kept {
        start,
        end: start.saturating_add(size),
        by: by.to_owned(),
    })
}

fn is_available(node: &Node) -> bool {
    node.string("status")
        .is_none_or(|status| status == "okay" || status == "ok")
}

/// What lies outside the memory that `linux,usable-memory` leaves, where there is one.
fn unusable(root: &Node, cells: Cells) -> Vec<Kept> {
    const PROPERTY: &str = "linux,usable-memory";
    let memory = root.children.iter();
    let memory = memory.filter(|node| describes_memory(node) && node.property(PROPERTY).is_some());
    let mut usable: Vec<(u64, u64)> = memory
        .flat_map(|node| cells.ranges(node, PROPERTY))
        .filter(|(_, size)| *size != 0)
        .map(|(address, size)| (address, address.saturating_add(size)))
        .collect();
    if usable.is_empty() {
        return Vec::new();
    }
    usable.sort_unstable();
    let mut kept = Vec::new();
    let mut at = 0;
    for (start, end) in usable.into_iter().chain([(u64::MAX, u64::MAX)]) {
        if start > at {
            let by = format!("a hole in {PROPERTY}");
            kept.push(Kept {
                start: at,
                end: start,
                by,
            });
        }
        at = at.max(end);
    }
    kept
}

/// How many 32-bit cells an address and a size have.
#[derive(Clone, Copy)]
struct Cells {
    address: usize,
    size: usize,
}

impl Cells {
    fn of(root: &Node) -> Cells {
        let cells = |name, default: u32| root.cell(name).unwrap_or(default).min(4) as usize;
        Cells {
            address: cells("#address-cells", 2),
            size: cells("#size-cells", 1),
        }
    }

    /// A property as addresses and sizes; what is left at its end is ignored, as Linux does.
    fn ranges<'a>(self, node: &'a Node, property: &str) -> impl Iterator<Item = (u64, u64)> + 'a {
        let cells = node
            .property(property)
            .unwrap_or_default()
            .as_chunks::<4>()
            .0;
        let number = |cells: &[[u8; 4]]| {
            let cells = cells.iter().map(|cell| u32::from_be_bytes(*cell));
            cells.fold(0, |number, cell| number << 32 | u64::from(cell))
        };
        cells
            .chunks_exact((self.address + self.size).max(1))
            .take(MAX_RANGES)
            .map(move |pair| {
                let (address, size) = pair.split_at(self.address);
                (number(address), number(size))
            })
    }
}
