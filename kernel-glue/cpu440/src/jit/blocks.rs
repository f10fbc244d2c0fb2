//! Which blocks there are: where the code for each word of guest RAM begins, which blocks were made
//! from it, and which jumps lead into them.
//!
//! A block is keyed by the RAM address of its first word alone: nothing in translated code depends
//! on the effective address or on the mode.

/// Words of a page.
const WORDS: usize = 1024;

/// Number of a block, and of a link; they are given out anew when all code is given up.
pub(super) type BlockId = u32;
/// Number of a link.
pub(super) type LinkId = u32;

/// Pages that may have code at once; with their tables of entries, this is 16 MiB.
const PAGES: usize = 4096;

/// A stretch of guest code, translated.
#[derive(Debug)]
struct Block {
    /// Its first and last word in its page.
    first: u16,
    last: u16,
    /// Offset of its code.
    code: u32,
    /// Links that lead to it.
    incoming: Vec<LinkId>,
}

/// A jump from one block to another, which leads to a stub until its target is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Offset of the jump's 32-bit displacement.
    pub jump: u32,
    /// Offset of the stub.
    pub stub: u32,
    /// Offset of the number of the page that the jump expects, where it leaves its own page.
    pub guard: Option<u32>,
}

/// What a page has.
#[derive(Debug)]
struct Page {
    /// Offset of the code that begins at each word; the miss stub's where none does.
    entries: Box<[u32; WORDS]>,
    /// Words that some block was made from, one bit each.
    translated: [u32; WORDS / 32],
    blocks: Vec<BlockId>,
}

/// All blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    miss: u32,
    /// What a page without code has.
    nothing: Box<[u32; WORDS]>,
    /// For translated code: the entries of each RAM page, by its number plus 1.
    tables: Box<[*const u32]>,
    pages: Vec<Option<Box<Page>>>,
    with_code: Vec<u32>,
    blocks: Vec<Option<Block>>,
    links: Vec<Link>,
}

#[allow(unsafe_code)]
// SAFETY: the pointers in `tables` are to boxes that `Blocks` owns too.
unsafe impl Send for Blocks {}

impl Blocks {
    /// No blocks, over `pages` pages of RAM; `miss` is the offset of the code that asks for one.
    pub fn new(pages: usize, miss: u32) -> Self {
        let nothing = Box::new([miss; WORDS]);
        Blocks {
            miss,
            tables: vec![nothing.as_ptr(); pages + 1].into_boxed_slice(),
            nothing,
            pages: (0..pages).map(|_| None).collect(),
            with_code: Vec::new(),
            blocks: Vec::new(),
            links: Vec::new(),
        }
    }

    /// For translated code: the entries of each RAM page, by its number plus 1.
    pub fn tables(&self) -> *const *const u32 {
        self.tables.as_ptr()
    }

    /// Offset of the code that begins at a word.
    #[inline]
    pub fn entry(&self, ram_page: u32, word: usize) -> Option<u32> {
        let page = self.pages.get(ram_page as usize)?.as_ref()?;
        let entry = page.entries[word % WORDS];
        (entry != self.miss).then_some(entry)
    }

    /// Whether a page has no room in the tables any more.
    pub fn is_full(&self) -> bool {
        self.with_code.len() >= PAGES
    }

    /// Whether nothing was made from the page yet.
    pub fn is_new(&self, ram_page: u32) -> bool {
        self.pages
            .get(ram_page as usize)
            .is_none_or(Option::is_none)
    }

    /// Enters a block of `words` words that begins at word `first`, and its links.
    pub fn add(&mut self, ram_page: u32, first: usize, words: usize, code: u32) -> BlockId {
        let id = self.blocks.len() as BlockId;
        let last = first + words.max(1) - 1;
        self.blocks.push(Some(Block {
            first: first as u16,
            last: last as u16,
            code,
            incoming: Vec::new(),
        }));
        let slot = &mut self.pages[ram_page as usize];
        if slot.is_none() {
            let page = Page {
                entries: self.nothing.clone(),
                translated: [0; WORDS / 32],
                blocks: Vec::new(),
            };
            self.tables[ram_page as usize + 1] = page.entries.as_ptr();
            *slot = Some(Box::new(page));
            self.with_code.push(ram_page);
        }
        if let Some(page) = slot {
            page.entries[first] = code;
            page.blocks.push(id);
            for word in first..=last {
                page.translated[word / 32] |= 1 << (word % 32);
            }
        }
        id
    }

    /// The number that the next link will have.
    pub fn next_link(&self) -> LinkId {
        self.links.len() as LinkId
    }

    /// Enters a link.
    pub fn add_link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// A link, to be made to lead to the block that begins at a word; the block hears of it.
    pub fn link(&mut self, id: LinkId, ram_page: u32, word: usize) -> Option<Link> {
        let page = self.pages.get(ram_page as usize)?.as_ref()?;
        let code = page.entries[word % WORDS];
        let target =
            page.blocks.iter().rev().find(
                |block| matches!(&self.blocks[**block as usize], Some(b) if b.code == code),
            )?;
        let block = self.blocks[*target as usize].as_mut()?;
        if !block.incoming.contains(&id) {
            block.incoming.push(id);
        }
        self.links.get(id as usize).copied()
    }

    /// Whether any word of `from..=to` was translated; byte offsets in the page.
    pub fn holds_code(&self, ram_page: u32, from: u32, to: u32) -> bool {
        let Some(Some(page)) = self.pages.get(ram_page as usize) else {
            return false;
        };
        (from as usize / 4..=to as usize / 4)
            .any(|word| page.translated[word / 32] & 1 << (word % 32) != 0)
    }

    /// Forgets the blocks that were made from any byte of `from..=to` of a page, and calls `unlink`
    /// for each jump that led into one. Says how many instructions are gone, and whether the page
    /// has no blocks any more.
    pub fn forget(
        &mut self,
        ram_page: u32,
        from: u32,
        to: u32,
        mut unlink: impl FnMut(Link),
    ) -> (u32, bool) {
        let (from, to) = ((from / 4) as u16, (to / 4) as u16);
        let Some(slot) = self.pages.get_mut(ram_page as usize) else {
            return (0, false);
        };
        let Some(page) = slot else {
            return (0, false);
        };
        let mut gone = 0;
        page.translated = [0; WORDS / 32];
        let (blocks, links, miss) = (&mut self.blocks, &self.links, self.miss);
        let entries = &mut page.entries;
        let translated = &mut page.translated;
        page.blocks.retain(|id| {
            let Some(block) = &blocks[*id as usize] else {
                return false;
            };
            if block.first > to || block.last < from {
                for word in usize::from(block.first)..=usize::from(block.last) {
                    translated[word / 32] |= 1 << (word % 32);
                }
                return true;
            }
            gone += u32::from(block.last - block.first) + 1;
            if entries[usize::from(block.first)] == block.code {
                entries[usize::from(block.first)] = miss;
            }
            for link in &block.incoming {
                unlink(links[*link as usize]);
            }
            blocks[*id as usize] = None;
            false
        });
        let empty = page.blocks.is_empty();
        if empty {
            self.tables[ram_page as usize + 1] = self.nothing.as_ptr();
            *slot = None;
            self.with_code.retain(|page| *page != ram_page);
        }
        (gone, empty)
    }

    /// Forgets all blocks and links; gives the pages that had some.
    pub fn clear(&mut self) -> Vec<u32> {
        for ram_page in &self.with_code {
            self.tables[*ram_page as usize + 1] = self.nothing.as_ptr();
            self.pages[*ram_page as usize] = None;
        }
        self.blocks.clear();
        self.links.clear();
        std::mem::take(&mut self.with_code)
    }

    /// Host bytes held besides the code.
    pub fn bytes(&self) -> usize {
        self.tables.len() * 16
            + self.with_code.len() * (size_of::<Page>() + 4 * WORDS)
            + self.blocks.len() * size_of::<Block>()
            + self.links.len() * (size_of::<Link>() + 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_forgets_the_blocks_it_hits_and_unlinks_them() {
        let mut blocks = Blocks::new(4, 7);
        blocks.add(2, 10, 5, 100);
        blocks.add(2, 20, 1, 200);
        let link = Link {
            jump: 300,
            stub: 310,
            guard: None,
        };
        let id = blocks.next_link();
        blocks.add_link(link);
        assert!(blocks.link(id, 2, 12).is_none(), "no block begins there");
        assert_eq!(blocks.link(id, 2, 10).map(|l| l.jump), Some(300));
        assert!(blocks.holds_code(2, 56, 59) && !blocks.holds_code(2, 60, 79));
        let mut unlinked = Vec::new();
        let mut forget =
            |blocks: &mut Blocks, at| blocks.forget(2, at, at, |link| unlinked.push(link.jump));
        assert_eq!(forget(&mut blocks, 60), (0, false));
        assert_eq!(forget(&mut blocks, 58), (5, false));
        assert_eq!(blocks.entry(2, 10), None);
        assert_eq!(blocks.entry(2, 20), Some(200));
        assert_eq!(forget(&mut blocks, 80), (1, true));
        assert_eq!(unlinked, [300]);
        assert!(blocks.is_new(2) && blocks.clear().is_empty());
    }
}
