//! A user's device tree, with what only the launcher knows filled in, as firmware would do.
//!
//! Memory size, boot arguments and the initrd's place are written; the clocks of the board are
//! written where the tree leaves them open. All other properties reach the guest byte for byte.
//! Whether the tree describes the right board is the caller's to decide from
//! [`UserTree::compatible`].

use crate::blob::{BlobError, Node, Tree};
use crate::board::Clocks;
use crate::writer::TooLarge;
use std::borrow::Cow;

/// A user's tree, read and not yet changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTree {
    tree: Tree,
}

/// What to fill in.
#[derive(Clone, Copy, Debug)]
pub struct Patch<'a> {
    /// RAM from address 0, in bytes.
    pub memory_bytes: u32,
    /// The kernel's command line; none keeps the tree's own.
    pub bootargs: Option<&'a str>,
    /// First address of the initrd and the first one after it; none removes what the tree says.
    pub initrd: Option<(u32, u32)>,
    /// The machine's clocks. The core's clock and the time base are facts of the machine and are
    /// written always: a tree made for another emulator would make the guest's time run wrong.
    /// The other clocks are written where the tree has 0, as Linux's own source for the board has
    /// it for firmware to fill in. None leaves all clocks alone.
    pub clocks: Option<&'a Clocks>,
}

/// Why a tree cannot take what must be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Addresses or sizes of a width that cannot hold RAM's.
    #[error("/{property} is {value}, and only 1 or 2 can describe memory; correct the tree")]
    CellCount {
        /// `#address-cells` or `#size-cells`.
        property: &'static str,
        /// What the tree says.
        value: u32,
    },
    /// Several nodes describe memory.
    #[error(
        "{first} and {second} both describe memory, and the board has one range from 0; keep one"
    )]
    MemoryNodes {
        /// The name of one of the nodes.
        first: String,
        /// The name of another of the nodes.
        second: String,
    },
    /// The boot arguments hold a NUL.
    #[error("the boot arguments hold a NUL byte at {0}; remove it")]
    Bootargs(usize),
    /// The tree grew beyond the format.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl UserTree {
    /// Reads a user's blob and checks all of it.
    pub fn parse(blob: &[u8]) -> Result<UserTree, BlobError> {
        Ok(UserTree {
            tree: Tree::parse(blob)?,
        })
    }

    /// The tree as it was read.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The tree itself.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// The root's `compatible` strings, which name the board, at most the first 16; empty where
    /// there are none.
    pub fn compatible(&self) -> Vec<String> {
        let strings = self.tree.root.each_string("compatible");
        strings.take(16).map(Cow::into_owned).collect()
    }

    /// Whether this is an image tree (FIT), a container of kernels and not a board's description.
    pub fn is_fit(&self) -> bool {
        self.tree.root.child("images").is_some()
    }

    /// How many devices the tree describes that are compatible with `name` and not disabled.
    pub fn count(&self, name: &str) -> usize {
        count(&self.tree.root, name)
    }

    /// A blob of the tree with `patch` filled in.
    pub fn patched(&self, patch: &Patch<'_>) -> Result<Vec<u8>, PatchError> {
        let mut tree = self.tree.clone();
        fill_memory(&mut tree.root, patch.memory_bytes)?;
        fill_chosen(&mut tree.root, patch)?;
        if let Some(clocks) = patch.clocks {
            fill_cpu_clocks(&mut tree.root, clocks);
            fill_open_clocks(&mut tree.root, clocks);
        }
        Ok(tree.to_blob()?)
    }
}

fn count(node: &Node, name: &str) -> usize {
    let is_one = node.each_string("compatible").any(|other| other == name)
        && !matches!(node.property("status"), Some(b"disabled\0"));
    let below = node.children.iter().map(|child| count(child, name));
    usize::from(is_one) + below.sum::<usize>()
}

fn fill_memory(root: &mut Node, bytes: u32) -> Result<(), PatchError> {
    let cells = |property: &'static str, default: u32| {
        let value = root.cell(property).unwrap_or(default);
        match value {
            1 | 2 => Ok(value as usize),
            _ => Err(PatchError::CellCount { property, value }),
        }
    };
    let address_cells = cells("#address-cells", 2)?;
    let size_cells = cells("#size-cells", 1)?;
    let mut reg = vec![0; address_cells + size_cells];
    reg[address_cells + size_cells - 1] = bytes;

    let mut nodes = root
        .children
        .iter_mut()
        .filter(|node| describes_memory(node));
    if let Some(node) = nodes.next() {
        if let Some(other) = nodes.next() {
            let (first, second) = (node.name.clone(), other.name.clone());
            return Err(PatchError::MemoryNodes { first, second });
        }
        node.set_cells("reg", &reg);
        return Ok(());
    }
    let mut memory = Node::new("memory");
    memory.set_string("device_type", "memory");
    memory.set_cells("reg", &reg);
    root.children.push(memory);
    Ok(())
}

pub(crate) fn describes_memory(node: &Node) -> bool {
    node.property("device_type") == Some(b"memory\0")
        || node.name == "memory"
        || node.name.starts_with("memory@")
}

fn fill_chosen(root: &mut Node, patch: &Patch<'_>) -> Result<(), PatchError> {
    if root.child("chosen").is_none() {
        root.children.push(Node::new("chosen"));
    }
    let chosen = root.child_mut("chosen").expect("it was made above");
    if let Some(bootargs) = patch.bootargs {
        if let Some(position) = bootargs.bytes().position(|byte| byte == 0) {
            return Err(PatchError::Bootargs(position));
        }
        chosen.set_string("bootargs", bootargs);
    }
    match patch.initrd {
        Some((start, end)) => {
            chosen.set_cells("linux,initrd-start", &[start]);
            chosen.set_cells("linux,initrd-end", &[end]);
        }
        None => {
            chosen.remove("linux,initrd-start");
            chosen.remove("linux,initrd-end");
        }
    }
    Ok(())
}

fn fill_cpu_clocks(root: &mut Node, clocks: &Clocks) {
    let Some(cpus) = root.child_mut("cpus") else {
        return;
    };
    for cpu in &mut cpus.children {
        if cpu.property("device_type") == Some(b"cpu\0") {
            cpu.set_cells("clock-frequency", &[clocks.cpu_hz]);
            cpu.set_cells("timebase-frequency", &[clocks.timebase_hz]);
        }
    }
}

/// Fills in the clocks of buses and serial ports below `node` that are 0.
fn fill_open_clocks(node: &mut Node, clocks: &Clocks) {
    if node.cell("clock-frequency") == Some(0) {
        let is = |name: &str| node.each_string("compatible").any(|entry| entry == name);
        let clock = if is("ibm,plb4") {
            Some(clocks.plb_hz)
        } else if is("ibm,opb") {
            Some(clocks.opb_hz)
        } else if is("ibm,ebc") {
            Some(clocks.ebc_hz)
        } else if is("ns16550") {
            Some(clocks.uart_hz)
        } else {
            None
        };
        if let Some(clock) = clock {
            node.set_cells("clock-frequency", &[clock]);
        }
    }
    for child in &mut node.children {
        fill_open_clocks(child, clocks);
    }
}
