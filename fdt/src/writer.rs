//! A device tree in memory back to a blob of version 17.
//!
//! The board's own tree is written with `vm-fdt`, which insists on the specification's names. A
//! user's tree is kept as it came, with any name that dtc accepts, and so it has this writer.

use crate::blob::{BEGIN_NODE, END, END_NODE, HEADER_SIZE, MAGIC, Node, PROP, Tree};
use std::collections::HashMap;

/// A tree that does not fit the format's 32-bit sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device tree needs more than 4 GiB; shorten it")]
pub struct TooLarge;

#[derive(Default)]
struct Blocks {
    structure: Vec<u8>,
    strings: Vec<u8>,
    offsets: HashMap<String, u32>,
}

impl Tree {
    /// Writes the blob: header, reservations, structure, strings.
    pub fn to_blob(&self) -> Result<Vec<u8>, TooLarge> {
        let mut reservations = Vec::new();
        for entry in &self.reservations {
            reservations.extend(entry.address.to_be_bytes());
            reservations.extend(entry.size.to_be_bytes());
        }
        reservations.extend([0; 16]);

        let mut blocks = Blocks::default();
        blocks.node(&self.root)?;
        blocks.word(END);
        let Blocks {
            structure, strings, ..
        } = blocks;

        let structure_start = HEADER_SIZE + reservations.len();
        let strings_start = structure_start + structure.len();
        let total = strings_start + strings.len();
        let header = [
            MAGIC as usize,
            total,
            structure_start,
            strings_start,
            HEADER_SIZE,
            17,
            16,
            self.boot_cpuid as usize,
            strings.len(),
            structure.len(),
        ];
        let mut blob = Vec::with_capacity(total);
        for word in header {
            blob.extend(u32::try_from(word).map_err(|_| TooLarge)?.to_be_bytes());
        }
        blob.extend(reservations);
        blob.extend(structure);
        blob.extend(strings);
        Ok(blob)
    }
}

impl Blocks {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        let padding = self.structure.len().wrapping_neg() % 4;
        self.structure.extend(&[0; 4][..padding]);
    }

    fn string(&mut self, name: &str) -> Result<u32, TooLarge> {
        if let Some(offset) = self.offsets.get(name) {
            return Ok(*offset);
        }
        let offset = u32::try_from(self.strings.len()).map_err(|_| TooLarge)?;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.offsets.insert(name.to_owned(), offset);
        Ok(offset)
    }

    /// The reader and the board's tree bound the depth, so recursion is bounded too.
    fn node(&mut self, node: &Node) -> Result<(), TooLarge> {
        self.word(BEGIN_NODE);
        self.padded(&[node.name.as_bytes(), &[0]].concat());
        for property in &node.properties {
            let name = self.string(&property.name)?;
            self.word(PROP);
            self.word(u32::try_from(property.value.len()).map_err(|_| TooLarge)?);
            self.word(name);
            self.padded(&property.value);
        }
        for child in &node.children {
            self.node(child)?;
        }
        self.word(END_NODE);
        Ok(())
    }
}
