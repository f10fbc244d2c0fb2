//! Decoded blocks, keyed by the RAM page and the offset that they were decoded from.
//!
//! A block is straight-line code up to a branch, the end of its page or a length limit. Nothing
//! in a decoded operation depends on the effective address or on the mode: what the MSR allows is
//! looked at when the operation runs. Big-endian pages are the only ones decoded here, so the RAM
//! address is the whole key.

use crate::interp::{Op, predecode};
use crate::ram::Ram;

const PAGE: u32 = 4096;
const WORDS: usize = 1024;

/// Longest block, in instructions.
const LONGEST_BLOCK: usize = 64;
/// Pages kept; with their operations this bounds the cache to some 24 MiB.
const PAGES: usize = 1024;
/// Operations kept of one page. Blocks may overlap, so a page can hold more than its 1024.
const PAGE_OPS: usize = 3072;

/// Where a block lies in its page's operations; `len` is 0 where no block starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block {
    first: u16,
    len: u16,
}

impl Block {
    fn ops(self) -> std::ops::Range<usize> {
        usize::from(self.first)..usize::from(self.first) + usize::from(self.len)
    }
}

#[derive(Debug)]
struct Page {
    /// RAM page number, or `None` when this slot of the cache is free.
    ram_page: Option<u32>,
    /// The block that starts at each word.
    blocks: Box<[Block; WORDS]>,
    ops: Vec<Op>,
    /// Which of the page's 128 cache lines some block was decoded from.
    lines: u128,
}

/// Counts since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeStatistics {
    /// Blocks decoded.
    pub blocks: u64,
    /// Instructions decoded.
    pub instructions: u64,
    /// Blocks forgotten because the guest or a device wrote over them.
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
                    blocks: Box::new([Block::default(); WORDS]),
                    ops: Vec::new(),
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
        page.blocks.fill(Block::default());
        page.ops = Vec::new();
        page.lines = 0;
    }

    /// The block at byte offset `offset` of a page, decoded when there is none.
    #[inline(always)]
    pub fn block(&mut self, index: usize, offset: u32, memory: &Ram) -> Block {
        let block = self.pages[index].blocks[(offset >> 2) as usize % WORDS];
        if block.len != 0 {
            block
        } else {
            self.decode(index, offset, memory)
        }
    }

    /// The operations of a block.
    #[inline(always)]
    pub fn ops(&self, index: usize, block: Block) -> &[Op] {
        &self.pages[index].ops[block.ops()]
    }

    #[cold]
    fn decode(&mut self, index: usize, offset: u32, memory: &Ram) -> Block {
        let page = &mut self.pages[index];
        if page.ops.len() + LONGEST_BLOCK > PAGE_OPS {
            page.blocks.fill(Block::default());
            page.ops.clear();
            page.lines = 0;
        }
        let start = offset as usize / 4 % WORDS;
        let base = page.ram_page.unwrap_or(0) << 12;
        let first = page.ops.len();
        for word in start..(start + LONGEST_BLOCK).min(WORDS) {
            // Inside RAM, since the page is; a word that is not would be an illegal instruction.
            let insn = memory.load::<u32>(base + word as u32 * 4).unwrap_or(0);
            let (op, ends_block) = predecode(insn);
            page.ops.push(op);
            page.lines |= 1 << (word / 8);
            if ends_block {
                break;
            }
        }
        let block = Block {
            first: first as u16,
            len: (page.ops.len() - first) as u16,
        };
        page.blocks[start] = block;
        self.statistics.blocks += 1;
        self.statistics.instructions += u64::from(block.len);
        block
    }

    /// Forgets the blocks decoded from any of the `bytes` bytes of RAM at `ram`.
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
        // Some line is shared; find the blocks, and what is left of the lines without them.
        let (from, to) = (from as usize / 4, to as usize / 4);
        page.lines = 0;
        let mut left = false;
        for start in 0..WORDS {
            let len = usize::from(page.blocks[start].len);
            if len == 0 {
                continue;
            }
            let last = start + len - 1;
            if start <= to && last >= from {
                page.blocks[start] = Block::default();
                self.statistics.invalidated += 1;
            } else {
                left = true;
                page.lines |= (u128::MAX << (start / 8)) & (u128::MAX >> (127 - last / 8));
            }
        }
        if !left {
            self.forget_page(index, memory);
        }
    }

    /// Counts, and what is held now.
    pub fn statistics(&self) -> CodeStatistics {
        let ops: usize = self.pages.iter().map(|page| page.ops.capacity()).sum();
        let bytes = ops * size_of::<Op>() + self.pages.len() * size_of::<[Block; WORDS]>();
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
        let block = code.block(page, 0, &ram);
        assert_eq!(code.ops(page, block).len(), 2);
        let block = code.block(page, 4092, &ram);
        assert_eq!(code.ops(page, block).len(), 1);
    }

    #[test]
    fn a_store_forgets_the_blocks_it_hits_and_no_other() {
        let ram = ram(&[
            (0x1000, ADDI),
            (0x1004, BLR),
            (0x1008, ADDI),
            (0x100C, BLR),
            (0x1100, BLR),
        ]);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0x1000, &ram);
        for offset in [0, 8, 0x100] {
            code.block(page, offset, &ram);
        }
        code.invalidate(0x1004, 4, &ram);
        assert_eq!(code.statistics().invalidated, 1);
        assert_eq!(code.pages[page].blocks[2].len, 2, "the next block stays");
        code.invalidate(0x1020, 0xE0, &ram);
        assert_eq!(
            code.statistics().invalidated,
            1,
            "lines without code are data"
        );
        code.invalidate(0x0FFF, 0x200, &ram);
        assert_eq!(code.statistics().invalidated, 3);
        assert!(
            !ram.watch().watched(0x1000),
            "a page without blocks is data again"
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
