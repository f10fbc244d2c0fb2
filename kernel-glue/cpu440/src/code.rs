//! Decoded code, keyed by the RAM page that it was decoded from.
//!
//! A page of RAM has one decoded operation for each of its words, and for each word the length of
//! the block that runs from there: straight on up to a branch, the end of the page or a length
//! limit. Every word is decoded once, whichever way it is reached, so resuming in the middle of a
//! block after a trap costs nothing.
//!
//! Nothing in a decoded operation depends on the effective address or on the mode: what the MSR
//! allows is looked at when the operation runs. Big-endian pages are the only ones decoded here,
//! so the RAM address is the whole key.

use crate::interp::{Op, predecode};
use crate::ram::Ram;

const PAGE: u32 = 4096;
const WORDS: usize = 1024;

/// Longest block, in instructions. It bounds how late an interrupt is seen.
const LONGEST_BLOCK: usize = 64;
/// Pages kept; this bounds the cache to some 17 MiB.
const PAGES: usize = 1000;

#[derive(Debug)]
struct Page {
    /// RAM page number, or `None` when this slot of the cache is free.
    ram_page: Option<u32>,
    /// Instructions in the block from each word; 0 where the word is not decoded.
    lengths: Box<[u8; WORDS]>,
    /// The operation of each decoded word.
    ops: Vec<Op>,
    /// Which of the page's 128 cache lines hold decoded words.
    lines: u128,
}

/// Counts since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeStatistics {
    /// Blocks decoded.
    pub blocks: u64,
    /// Instructions decoded.
    pub instructions: u64,
    /// Instructions forgotten because the guest or a device wrote over them.
    pub invalidated: u64,
    /// Pages forgotten to make room.
    pub evicted: u64,
    /// Host bytes held.
    pub bytes: u64,
}

/// The decoded code of all of guest RAM.
#[derive(Debug)]
pub(crate) struct CodeCache {
    pages: Vec<Page>,
    /// Index into `pages` plus 1, by RAM page.
    by_ram_page: Box<[u16]>,
    /// The next page to give up when the cache is full.
    victim: usize,
    statistics: CodeStatistics,
}

impl CodeCache {
    pub fn new(ram: &Ram) -> Self {
        CodeCache {
            pages: Vec::new(),
            by_ram_page: vec![0; ram.bytes().div_ceil(PAGE as usize)].into_boxed_slice(),
            victim: 0,
            statistics: CodeStatistics::default(),
        }
    }

    /// The page decoded from the RAM page at offset `ram`, made when there is none.
    pub fn page(&mut self, ram: u32, memory: &Ram) -> usize {
        let ram_page = ram >> 12;
        match self.by_ram_page.get(ram_page as usize) {
            Some(&index) if index != 0 => usize::from(index) - 1,
            _ => self.add_page(ram_page, memory),
        }
    }

    #[cold]
    fn add_page(&mut self, ram_page: u32, memory: &Ram) -> usize {
        let free = self.pages.iter().position(|page| page.ram_page.is_none());
        let index = match free {
            Some(index) => index,
            None if self.pages.len() < PAGES => {
                self.pages.push(Page {
                    ram_page: None,
                    lengths: Box::new([0; WORDS]),
                    ops: vec![predecode(0).0; WORDS],
                    lines: 0,
                });
                self.pages.len() - 1
            }
            None => {
                self.victim = (self.victim + 1) % PAGES;
                self.forget_page(self.victim, memory);
                self.statistics.evicted += 1;
                self.victim
            }
        };
        self.pages[index].ram_page = Some(ram_page);
        if let Some(entry) = self.by_ram_page.get_mut(ram_page as usize) {
            *entry = index as u16 + 1;
        }
        // Before anything is decoded: whoever writes from now on is seen.
        memory.watch().set(ram_page, true);
        index
    }

    fn forget_page(&mut self, index: usize, memory: &Ram) {
        let page = &mut self.pages[index];
        if let Some(ram_page) = page.ram_page.take() {
            memory.watch().set(ram_page, false);
            if let Some(entry) = self.by_ram_page.get_mut(ram_page as usize) {
                *entry = 0;
            }
        }
        page.lengths.fill(0);
        page.lines = 0;
    }

    /// The block at byte offset `offset` of a page, decoded when it is not yet.
    #[inline(always)]
    pub fn block(&mut self, index: usize, offset: u32, memory: &Ram) -> &[Op] {
        let word = (offset >> 2) as usize % WORDS;
        let mut length = self.pages[index].lengths[word];
        if length == 0 {
            length = self.decode(index, word, memory);
        }
        &self.pages[index].ops[word..word + usize::from(length)]
    }

    /// Decodes from a word up to the end of the block, or up to what is decoded already.
    #[cold]
    fn decode(&mut self, index: usize, start: usize, memory: &Ram) -> u8 {
        let page = &mut self.pages[index];
        let base = page.ram_page.unwrap_or(0) << 12;
        let mut end = start;
        // What follows without a break when the decoding stops.
        let mut tail = 0;
        while end < WORDS && end - start < LONGEST_BLOCK {
            if page.lengths[end] != 0 {
                tail = usize::from(page.lengths[end]);
                break;
            }
            // Inside RAM, since the page is; a word that is not would be an illegal instruction.
            let (op, ends_block) =
                predecode(memory.load::<u32>(base + end as u32 * 4).unwrap_or(0));
            page.ops[end] = op;
            page.lines |= 1 << (end / 8);
            end += 1;
            if ends_block {
                break;
            }
        }
        for word in start..end {
            page.lengths[word] = (end - word + tail).min(LONGEST_BLOCK) as u8;
        }
        self.statistics.blocks += 1;
        self.statistics.instructions += (end - start) as u64;
        page.lengths[start]
    }

    /// Forgets what was decoded from any of the `bytes` bytes of RAM at `ram`.
    #[cold]
    pub fn invalidate(&mut self, ram: u32, bytes: u32, memory: &Ram) {
        if bytes == 0 {
            return;
        }
        let last = ram.saturating_add(bytes - 1);
        for ram_page in ram >> 12..=last >> 12 {
            let Some(index) = self
                .by_ram_page
                .get(ram_page as usize)
                .and_then(|index| usize::from(*index).checked_sub(1))
            else {
                continue;
            };
            let base = ram_page << 12;
            let from = ram.max(base) - base;
            let to = last.min(base + (PAGE - 1)) - base;
            self.invalidate_in_page(index, from, to, memory);
        }
    }

    /// `from..=to` are byte offsets in the page.
    fn invalidate_in_page(&mut self, index: usize, from: u32, to: u32, memory: &Ram) {
        let page = &mut self.pages[index];
        let written = (u128::MAX << (from / 32)) & (u128::MAX >> (127 - to / 32));
        if page.lines & written == 0 {
            return;
        }
        let (from, to) = (from as usize / 4, to as usize / 4);
        for length in &mut page.lengths[from..=to] {
            self.statistics.invalidated += u64::from(*length != 0);
            *length = 0;
        }
        // Blocks that ran into the range now end before it.
        for word in from.saturating_sub(LONGEST_BLOCK)..from {
            page.lengths[word] = page.lengths[word].min((from - word) as u8);
        }
        for line in from / 8..=to / 8 {
            if page.lengths[line * 8..line * 8 + 8]
                .iter()
                .all(|&length| length == 0)
            {
                page.lines &= !(1 << line);
            }
        }
        if page.lines == 0 {
            self.forget_page(index, memory);
        }
    }

    /// Counts, and what is held now.
    pub fn statistics(&self) -> CodeStatistics {
        let bytes = self.pages.len() * WORDS * (size_of::<Op>() + size_of::<u8>());
        CodeStatistics {
            bytes: bytes as u64,
            ..self.statistics
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ram::Region;

    const ADDI: u32 = 0x3863_0001;
    const BLR: u32 = 0x4E80_0020;

    fn ram(words: &[(u32, u32)]) -> Ram {
        let region = Region::new(4 << 20).expect("anonymous memory");
        let ram = Ram::new(Arc::new(region)).expect("RAM");
        for &(at, word) in words {
            ram.store(at, word);
        }
        ram
    }

    #[test]
    fn a_block_ends_at_a_branch_and_at_the_page() {
        let ram = ram(&[(0, ADDI), (4, BLR), (4092, ADDI), (4096, ADDI)]);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0, &ram);
        assert_eq!(code.block(page, 0, &ram).len(), 2);
        assert_eq!(code.block(page, 4092, &ram).len(), 1);
    }

    #[test]
    fn a_word_is_decoded_once_however_it_is_reached() {
        let words: Vec<(u32, u32)> = (0..200).map(|n| (4 * n, ADDI)).collect();
        let ram = ram(&words);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0, &ram);
        for (offset, length, decoded) in [(80, 64, 64), (200, 34, 64), (0, 64, 84), (40, 64, 84)] {
            assert_eq!(code.block(page, offset, &ram).len(), length, "at {offset}");
            assert_eq!(code.statistics().instructions, decoded, "at {offset}");
        }
    }

    #[test]
    fn a_store_forgets_the_words_it_hits_and_no_other() {
        let ram = ram(&[
            (0x1000, ADDI),
            (0x1004, ADDI),
            (0x1008, BLR),
            (0x100C, BLR),
            (0x1100, BLR),
        ]);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0x1000, &ram);
        for offset in [0, 0xC, 0x100] {
            code.block(page, offset, &ram);
        }
        code.invalidate(0x1007, 2, &ram);
        assert_eq!(code.statistics().invalidated, 2);
        assert_eq!(code.pages[page].lengths[..4], [1, 0, 0, 1]);
        code.invalidate(0x1020, 0xE0, &ram);
        assert_eq!(
            code.statistics().invalidated,
            2,
            "lines without code are data"
        );
        assert_eq!(code.block(page, 0, &ram).len(), 1);
        assert_eq!(code.block(page, 4, &ram).len(), 2);
        code.invalidate(0x0FFF, 0x200, &ram);
        assert_eq!(code.statistics().invalidated, 7);
        assert!(
            !ram.watch().watched(0x1000),
            "a page without code is data again"
        );
    }

    #[test]
    fn a_full_cache_gives_up_its_oldest_page() {
        let region = Region::new((PAGES + 2) << 12).expect("anonymous memory");
        let ram = Ram::new(Arc::new(region)).expect("RAM");
        let mut code = CodeCache::new(&ram);
        for n in 0..=PAGES as u32 {
            let page = code.page(n << 12, &ram);
            code.block(page, 0, &ram);
        }
        assert_eq!(code.statistics().evicted, 1);
        assert_eq!(
            (0..=PAGES as u32)
                .filter(|n| ram.watch().watched(n << 12))
                .count(),
            PAGES
        );
    }
}
