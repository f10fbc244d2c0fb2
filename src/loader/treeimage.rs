//! treeImages: the boot block of IBM's evaluation boards, eight big-endian words, then a program.
//!
//! The block counts the 64 KiB of the file header that the tool which makes these images leaves
//! out, so the program has 128 blocks of 512 bytes fewer than the block says.

use super::error::{BadChecksum, Fault, LoadError};
use super::report::{Section, size};
use super::source::{Source, limit};
use super::{Mark, Target};
use bytes::Bytes;

/// Bytes before the program.
const HEADER: u64 = 32;
const BLOCK: u64 = 512;
const LEFT_OUT: u64 = (64 << 10) / BLOCK;

/// Offsets of the words, for reading and for messages.
mod field {
    pub const DESTINATION: u64 = 4;
    pub const BLOCKS: u64 = 8;
    pub const ENTRY: u64 = 16;
    pub const CHECKSUM: u64 = 20;
}

struct BootBlock {
    destination: u32,
    entry: u32,
    checksum: u32,
    blocks: u32,
}

/// The program and where it goes.
pub(super) fn read(source: &Source, ram: u32) -> Result<(Bytes, Target), LoadError> {
    let block = BootBlock::read(source)?;
    let data = block.data(source, ram)?;
    let sums = sums(source, &data)?;
    if !sums.contains(&block.checksum) {
        let fault = Fault::Checksum(Box::new(BadChecksum {
            sum: "sum".to_owned(),
            what: "treeImage".to_owned(),
            place: "the boot block",
            actual: format!("{:#010x}", sums[0]),
            expected: format!("{:#010x}", block.checksum),
        }));
        return Err(source.error_at(field::CHECKSUM, fault));
    }
    let target = Target {
        load: block.destination,
        entry: block.entry,
        marks: Some(Mark {
            file: source.name().to_owned(),
            load: field::DESTINATION,
            entry: field::ENTRY,
        }),
    };
    Ok((data, target))
}

/// Says what is in a treeImage, also in a damaged one.
pub(super) fn describe(source: &Source, ram: u32, section: &mut Section) {
    section.title = "treeImage".to_owned();
    let Ok(block) = BootBlock::read(source) else {
        return section.field("boot block", "incomplete");
    };
    section.field("load", format!("{:#010x}", block.destination));
    section.field("entry", format!("{:#010x}", block.entry));
    match block.data(source, ram) {
        Ok(data) => {
            section.field("data", size(data.len() as u64));
            let sums = sums(source, &data).unwrap_or_default();
            let right = sums.iter().find(|sum| **sum == block.checksum);
            section.checksum("checksum", *right.unwrap_or(&sums[0]), block.checksum);
        }
        Err(error) => section.field("data", error.fault.to_string()),
    }
}

impl BootBlock {
    fn read(source: &Source) -> Result<BootBlock, LoadError> {
        let bytes = source.read(0, HEADER, "boot block")?;
        let word = |offset: u64| {
            let offset = offset as usize;
            let word = bytes[offset..offset + 4]
                .try_into()
                .expect("the block has 32 bytes");
            u32::from_be_bytes(word)
        };
        Ok(BootBlock {
            destination: word(field::DESTINATION),
            entry: word(field::ENTRY),
            checksum: word(field::CHECKSUM),
            blocks: word(field::BLOCKS),
        })
    }

    fn data(&self, source: &Source, ram: u32) -> Result<Bytes, LoadError> {
        let blocks = u64::from(self.blocks).saturating_sub(LEFT_OUT);
        let bytes = blocks * BLOCK;
        if bytes == 0 {
            let reason = format!("a treeImage of {} blocks has no program", self.blocks);
            let fault = Fault::image(reason, "build it again with 'make treeImage.bamboo'");
            return Err(source.error_at(field::BLOCKS, fault));
        }
        let limit = limit(ram);
        if bytes > limit {
            return Err(source.error_at(field::BLOCKS, Fault::FileTooLarge { limit, ram }));
        }
        source.read(HEADER, bytes, "treeImage's program")
    }
}

/// The sum of all words but the checksum, read as big-endian and as little-endian: the tool that
/// makes these images adds in the byte order of the machine that it runs on.
fn sums(source: &Source, data: &[u8]) -> Result<[u32; 2], LoadError> {
    source.spend(data.len() as u64)?;
    let header = source.read(0, HEADER, "boot block")?;
    let checksum = field::CHECKSUM as usize;
    let words = header[..checksum]
        .chunks_exact(4)
        .chain(header[checksum + 4..].chunks_exact(4))
        .chain(data.chunks_exact(4));
    let mut sums = [0u32; 2];
    for word in words {
        let word: [u8; 4] = word.try_into().expect("chunks of four bytes");
        sums[0] = sums[0].wrapping_add(u32::from_be_bytes(word));
        sums[1] = sums[1].wrapping_add(u32::from_le_bytes(word));
    }
    Ok(sums)
}
