//! Where guest RAM is in real memory, and how large a page of it one TLB entry can hold.

use ppc440_isa::Mapping;

use crate::port::{Frame, Port};

/// log2 of the smallest page in bytes.
pub(crate) const PAGE_SHIFT: u32 = 12;

/// The TLB's SIZE fields from 256 MB down to 4 KB, without those that the 440 has not.
const SIZES: [u8; 7] = [9, 7, 5, 4, 3, 2, 1];

/// log2 of the bytes of a page whose SIZE field is `size`.
pub(crate) const fn shift(size: u8) -> u32 {
    10 + 2 * size as u32
}

/// A page as one entry of the TLB holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// First effective address.
    pub ea: u32,
    /// SIZE field.
    pub size: u8,
    /// RAM offset of the first byte.
    pub ram: u32,
    /// Number of the first real page.
    pub real: u32,
}

/// The largest page around `ea_wanted` that the mapping covers and one run of frames holds; `None` when
/// there is no frame.
pub(crate) fn page<P: Port>(port: &P, mapping: &Mapping, ea_wanted: u32) -> Option<Page> {
    let offset = ea_wanted.wrapping_sub(mapping.ea);
    if offset >= mapping.bytes {
        return None;
    }
    let ram = mapping.ram.wrapping_add(offset);
    let Frame { page, order } = port.frame(ram)?;
    let fits = |&size: &u8| {
        let below = (1u32 << shift(size)) - 1;
        // What the page has on either side of the wanted byte.
        let before = ea_wanted & below;
        let behind = below - before;
        shift(size) <= PAGE_SHIFT + u32::from(order)
            && (page << PAGE_SHIFT ^ ea_wanted & !((1 << PAGE_SHIFT) - 1)) & below == 0
            && before <= offset
            && behind < mapping.bytes - offset
    };
    let size = SIZES.into_iter().find(fits)?;
    let below = (1u32 << shift(size)) - 1;
    Some(Page {
        ea: ea_wanted & !below,
        size,
        ram: ram.wrapping_sub(ea_wanted & below),
        real: page & !(below >> PAGE_SHIFT),
    })
}

/// Works out [`Frame::order`] for each page of guest RAM, from the real pages in the order in which RAM
/// has them. What of `orders` is longer than `frames` stays as it is.
pub fn orders(frames: &[u32], orders: &mut [u8]) {
    let count = frames.len().min(orders.len());
    orders[..count].fill(0);
    let mut start = 0;
    while start < count {
        // A run: real pages that follow each other.
        let mut end = start + 1;
        while end < count && frames[end].checked_sub(1) == Some(frames[end - 1]) {
            end += 1;
        }
        for at in start..end {
            let mut order = 0;
            // The largest order, of those up to 256 MB, whose block around the page is in the run.
            while order < 16 {
                let pages = 2usize << order;
                let before = frames[at] as usize & (pages - 1);
                if before > at - start || pages - before > end - at {
                    break;
                }
                order += 1;
            }
            orders[at] = order;
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::Scripted;

    fn mapping(ea: u32, bytes: u32, ram: u32) -> Mapping {
        Mapping {
            bytes,
            ..Mapping::page(ea, ram)
        }
    }

    #[test]
    fn orders_are_those_of_naturally_aligned_blocks() {
        // 2 pages that end a block of 4, a block of 4, one alone, and 4 that are no block.
        let frames = [6, 7, 8, 9, 10, 11, 40, 33, 34, 35, 36];
        let mut found = [9; 12];
        orders(&frames, &mut found);
        assert_eq!(found, [1, 1, 2, 2, 2, 2, 0, 0, 1, 1, 0, 9]);
        let all: std::vec::Vec<u32> = (0..1 << 17).collect();
        let mut found = std::vec![0; all.len()];
        orders(&all, &mut found);
        assert!(found.iter().all(|&order| order == 16), "not above 256 MB");
        orders(&[0, u32::MAX, 0], &mut found[..3]);
        assert_eq!(found[..3], [0, 0, 0]);
    }

    #[test]
    fn a_page_is_as_large_as_mapping_frames_and_alignment_allow() {
        // RAM is 4 MB in blocks of 1 MB at real page 0x1_2300 and so on; the last is 4 KB pages.
        let mut port = Scripted::new();
        port.frames = (0..1024)
            .map(|page| Frame {
                page: 0x1_2300 + page + (page >> 8) * 0x100,
                order: if page < 768 { 8 } else { 0 },
            })
            .collect();
        let sizes = |mapping: Mapping, ea: u32| page(&port, &mapping, ea).map(|page| page.size);
        // 16 MB of addresses over 4 MB of RAM: 1 MB pages, at the wanted place.
        let kernel = mapping(0xC000_0000, 4 << 20, 0);
        assert_eq!(
            page(&port, &kernel, 0xC012_3456),
            Some(Page {
                ea: 0xC010_0000,
                size: 5,
                ram: 0x10_0000,
                real: 0x1_2500,
            })
        );
        // Frames that are no block, and a mapping that is not all of the block.
        assert_eq!(sizes(kernel, 0xC030_1000), Some(1));
        assert_eq!(
            sizes(mapping(0xC000_0000, 0xF_F000, 0), 0xC000_1000),
            Some(4)
        );
        assert_eq!(
            sizes(mapping(0xC000_0000, 0xF_F000, 0), 0xC00F_E000),
            Some(1)
        );
        // Effective and real addresses that are not congruent.
        assert_eq!(
            sizes(mapping(0xC001_0000, 1 << 20, 0), 0xC001_2000),
            Some(3)
        );
        assert_eq!(
            sizes(mapping(0xC000_1000, 1 << 20, 0), 0xC000_2000),
            Some(1)
        );
        // The last page of all, no RAM, and an address outside.
        assert_eq!(
            sizes(mapping(0xFFFF_F000, 0x1000, 0x2000), 0xFFFF_FFFF),
            Some(1)
        );
        assert_eq!(
            sizes(mapping(0xC000_0000, 1 << 20, 4 << 20), 0xC000_0000),
            None
        );
        assert_eq!(sizes(mapping(0xC000_0000, 0x1000, 0), 0xC000_1000), None);
    }

    #[test]
    fn real_addresses_have_36_bits() {
        let mut port = Scripted::new();
        port.frames = std::vec![Frame {
            page: 0xF1_2345,
            order: 0
        }];
        let found = page(&port, &mapping(0x1000, 0x1000, 0), 0x1000);
        assert_eq!(found.map(|page| page.real), Some(0xF1_2345));
    }
}
