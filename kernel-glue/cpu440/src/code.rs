//! Decoded code, keyed by the RAM page that it was decoded from.
//!
//! A page of RAM has one decoded operation for each of its words. A word that is not decoded yet
//! has an operation that asks for it, so running code needs no look-up of its own: it goes on from
//! one operation to the next, and resuming in the middle of a block after a trap costs nothing.
//! A block is what lies between two places that `pc` jumps from; nothing records its length.
//!
//! Nothing in a decoded operation depends on the effective address or on the mode: what the MSR
//! allows is looked at when the operation runs. Big-endian pages are the only ones decoded here,
//! so the RAM address is the whole key.

use ppc440_isa::Regs;

use crate::interp::{Exec, Flow, Op, PageOps, WORDS, predecode};
use crate::ram::Ram;
use crate::watch::Keeper;

const PAGE: u32 = 4096;

/// Words decoded at a time, at most; the end of a block usually comes first.
const AHEAD: usize = 64;
/// Pages kept; this bounds the cache to some 17 MiB.
const PAGES: usize = 1000;

#[derive(Debug)]
struct Page {
    /// RAM page number, or `None` when this slot of the cache is free.
    ram_page: Option<u32>,
    /// The operation of each word.
    ops: PageOps,
    /// Which words are decoded, one bit each, the first in the lowest bit of the first.
    decoded: [u32; WORDS / 32],
}

impl Page {
    /// Makes a word undecoded; says whether it was decoded.
    fn forget(&mut self, word: usize) -> bool {
        let bit = 1 << (word % 32);
        let was = self.decoded[word / 32] & bit != 0;
        if was {
            self.decoded[word / 32] &= !bit;
            self.ops.set(word, Op::UNDECODED);
        }
        was
    }
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

/// What the translator has done since the start, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranslatorStatistics {
    /// Blocks translated.
    pub blocks: u64,
    /// Guest instructions translated.
    pub instructions: u64,
    /// Guest instructions whose translation was forgotten because something wrote over them.
    pub invalidated: u64,
    /// Blocks given up to make room, or because other code was needed in their place.
    pub evicted: u64,
    /// Bytes that hold host code, or did.
    pub code_bytes: u64,
    /// Bytes of tables held besides.
    pub table_bytes: u64,
    /// Nanoseconds spent translating.
    pub nanoseconds: u64,
    /// Jumps linked.
    pub links: u64,
    /// Times that translated code was entered.
    pub entries: u64,
    /// Instructions that the interpreter ran, because their code had not run often enough to be worth a
    /// translation.
    pub first_runs: u64,
    /// Blocks that were made again because they run much.
    pub hot: u64,
    /// Pages of guest RAM that are mapped a second time, because such blocks load and store there;
    /// `None` without windows: they are switched off, guest RAM is no file, the host has not the address
    /// space, or would not hide a page any more.
    pub shown_pages: Option<u64>,
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
                    ops: PageOps::new(),
                    decoded: [0; WORDS / 32],
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
        memory.watch().set(ram_page, Keeper::Interpreter, true);
        index
    }

    fn forget_page(&mut self, index: usize, memory: &Ram) {
        let page = &mut self.pages[index];
        if let Some(ram_page) = page.ram_page.take() {
            memory.watch().set(ram_page, Keeper::Interpreter, false);
            if let Some(entry) = self.by_ram_page.get_mut(ram_page as usize) {
                *entry = 0;
            }
        }
        page.ops.clear();
        page.decoded = [0; WORDS / 32];
    }

    /// Runs the operations of a page from word `first` on, see [`PageOps::run`].
    #[inline(always)]
    pub fn run(
        &mut self,
        index: usize,
        first: usize,
        limit: u32,
        exec: &mut Exec,
        regs: &mut Regs,
    ) -> (Flow, u32) {
        self.pages[index].ops.run(first, limit, exec, regs)
    }

    /// Decodes from a word up to the end of its block, or up to what is decoded already.
    #[cold]
    pub fn decode(&mut self, index: usize, start: usize, memory: &Ram) {
        let page = &mut self.pages[index];
        let base = page.ram_page.unwrap_or(0) << 12;
        self.statistics.blocks += 1;
        for word in start..(start + AHEAD).min(WORDS) {
            let bit = 1 << (word % 32);
            if page.decoded[word / 32] & bit != 0 {
                break;
            }
            let offset = word as u32 * 4;
            // Inside RAM, since the page is; a word that is not would be an illegal instruction.
            let (op, ends_block) = predecode(memory.load(base + offset).unwrap_or(0), offset);
            page.ops.set(word, op);
            page.decoded[word / 32] |= bit;
            self.statistics.instructions += 1;
            if ends_block {
                break;
            }
        }
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
        for word in from as usize / 4..=to as usize / 4 {
            self.statistics.invalidated += u64::from(page.forget(word));
        }
        if page.decoded == [0; WORDS / 32] {
            self.forget_page(index, memory);
        }
    }

    /// Counts, and what is held now.
    pub fn statistics(&self) -> CodeStatistics {
        let bytes = self.pages.len() * (WORDS * size_of::<Op>() + size_of::<Page>());
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

    fn decoded(code: &CodeCache, page: usize) -> Vec<usize> {
        let bits = &code.pages[page].decoded;
        (0..WORDS)
            .filter(|word| bits[word / 32] & 1 << (word % 32) != 0)
            .collect()
    }

    #[test]
    fn decoding_ends_with_the_block_and_with_the_page() {
        let ram = ram(&[(0, ADDI), (4, BLR), (4092, ADDI), (4096, ADDI)]);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0, &ram);
        code.decode(page, 0, &ram);
        code.decode(page, 1023, &ram);
        assert_eq!(decoded(&code, page), [0, 1, 1023]);
    }

    #[test]
    fn a_word_is_decoded_once_however_it_is_reached() {
        let words: Vec<(u32, u32)> = (0..200).map(|n| (4 * n, ADDI)).collect();
        let ram = ram(&words);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0, &ram);
        for (start, count) in [(20, 64), (0, 84), (50, 84)] {
            code.decode(page, start, &ram);
            assert_eq!(code.statistics().instructions, count, "from {start}");
        }
    }

    #[test]
    fn a_store_forgets_the_words_it_hits_and_no_other() {
        let ram = ram(&[(0x1000, ADDI), (0x1004, ADDI), (0x1008, BLR), (0x1100, BLR)]);
        let mut code = CodeCache::new(&ram);
        let page = code.page(0x1000, &ram);
        code.decode(page, 0, &ram);
        code.decode(page, 64, &ram);
        code.invalidate(0x1007, 2, &ram);
        assert_eq!(
            (decoded(&code, page), code.statistics().invalidated),
            (vec![0, 64], 2)
        );
        code.invalidate(0x1010, 0xF0, &ram);
        assert_eq!(
            code.statistics().invalidated,
            2,
            "words without code are data"
        );
        code.invalidate(0x0FFF, 0x200, &ram);
        assert_eq!(
            (decoded(&code, page), code.statistics().invalidated),
            (vec![], 4)
        );
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
            code.decode(page, 0, &ram);
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
