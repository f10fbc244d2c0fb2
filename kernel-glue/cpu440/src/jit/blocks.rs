//! Which blocks there are: where the code for each word of guest RAM begins, which blocks were made
//! from it, and which jumps lead into them.
//!
//! A block is keyed by the RAM address of its first word alone: nothing in translated code depends
//! on the effective address or on the mode.
//!
//! Blocks and links stand in queues in the order in which they were made, which is also that of
//! their code in the code memory: to make room there is to take blocks from the front. One that was
//! forgotten before stays in the queue until it comes to the front.

use std::collections::VecDeque;
use std::ops::Range;

/// Words of a page.
const WORDS: usize = 1024;

/// Number of a block.
type BlockId = u32;
/// Number of a link.
pub(super) type LinkId = u32;

/// Numbers have this many bits, and begin again after the highest: long before, what had the low
/// ones is gone.
const BITS: u32 = 24;
/// No number.
const NONE: u32 = u32::MAX;

/// Pages that may have code at once; with their tables, this is 25 MiB.
const PAGES: usize = 3072;

/// A jump from one block to another, which leads to a stub until its target is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Offset of the jump's 32-bit displacement.
    pub jump: u32,
    /// Offset of the stub.
    pub stub: u32,
    /// Offset of the number of the page that the jump expects, where it leaves its own page.
    pub guard: Option<u32>,
    /// The word that it leads to, where it stays in its page.
    pub to: Option<u16>,
}

/// What a block became.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made<'a> {
    /// Offset of its code.
    pub code: u32,
    /// The jumps that lead from it to other blocks.
    pub links: &'a [Link],
    /// The facts of a block that runs much; `None` for any other.
    pub hot: Option<Hot>,
}

/// A block that was just added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    id: BlockId,
    /// The first of the links that wait for it.
    waiting: LinkId,
}

/// What is known of the code of a block that runs much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hot {
    /// The number of its instructions.
    pub words: u8,
    /// How many of them are accesses that go by the tables nevertheless.
    pub by_tables: u8,
}

/// A queue whose items are found by their numbers.
#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    /// Number of the first.
    first: u32,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Queue {
            items: VecDeque::new(),
            first: 0,
        }
    }

    fn index(&self, id: u32) -> usize {
        match id {
            NONE => usize::MAX,
            id => (id.wrapping_sub(self.first) & ((1 << BITS) - 1)) as usize,
        }
    }

    /// The number that the next item will have.
    fn next(&self) -> u32 {
        (self.first + self.items.len() as u32) & ((1 << BITS) - 1)
    }

    fn push(&mut self, item: T) -> u32 {
        let id = self.next();
        self.items.push_back(item);
        id
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.first = (self.first + 1) & ((1 << BITS) - 1);
        Some(item)
    }

    fn get(&self, id: u32) -> Option<&T> {
        self.items.get(self.index(id))
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let index = self.index(id);
        self.items.get_mut(index)
    }

    fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
    }
}

/// A stretch of guest code, translated.
#[derive(Clone, Copy, Debug)]
struct Block {
    ram_page: u32,
    /// Its first and last word in its page.
    first: u16,
    last: u16,
    /// Offset of its code.
    code: u32,
    /// The first of the links that lead to it.
    incoming: LinkId,
    /// The first of its own links.
    own: LinkId,
    /// How many it has; they are the next in their queue.
    links: u16,
    /// The facts of a block that runs much; `None` for any other.
    hot: Option<Hot>,
    /// What it was made from is still there.
    live: bool,
}

/// A link, and where it leads.
#[derive(Clone, Copy, Debug)]
struct Connection {
    link: Link,
    /// The page of the block that it is in.
    ram_page: u32,
    /// The block that it leads to, or none.
    target: BlockId,
    /// The links before and behind it among those that lead there, or wait for a block in its page.
    previous: LinkId,
    next: LinkId,
}

/// The blocks, and how they lead to each other.
#[derive(Debug)]
struct Graph {
    blocks: Queue<Block>,
    links: Queue<Connection>,
}

impl Graph {
    /// Makes a link lead to a block.
    fn connect(&mut self, link: LinkId, target: BlockId) -> Option<Link> {
        self.disconnect(link);
        let block = self.blocks.get_mut(target)?;
        let connection = self.links.get_mut(link)?;
        let next = std::mem::replace(&mut block.incoming, link);
        (connection.target, connection.next) = (target, next);
        let found = connection.link;
        if let Some(next) = self.links.get_mut(next) {
            next.previous = link;
        }
        Some(found)
    }

    /// Whether a link leads to the block that begins at a word.
    fn leads_to(&self, link: LinkId, ram_page: u32, word: usize) -> bool {
        self.links
            .get(link)
            .and_then(|connection| self.blocks.get(connection.target))
            .is_some_and(|block| block.ram_page == ram_page && usize::from(block.first) == word)
    }

    /// Whether a link is one in a page that leads to a word of it, and nothing has come of it yet; then
    /// the number of the next that waits so.
    fn waits(&self, link: LinkId, ram_page: u32, word: u16) -> Option<LinkId> {
        let connection = self.links.get(link)?;
        let waits = connection.target == NONE
            && connection.ram_page == ram_page
            && connection.link.to == Some(word);
        waits.then_some(connection.next)
    }

    /// Takes a link out of its target's list.
    fn disconnect(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else {
            return;
        };
        let target = std::mem::replace(&mut connection.target, NONE);
        let previous = std::mem::replace(&mut connection.previous, NONE);
        let next = std::mem::replace(&mut connection.next, NONE);
        if let Some(next) = self.links.get_mut(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.links.get_mut(previous) {
            previous.next = next;
        } else if let Some(target) = self.blocks.get_mut(target) {
            target.incoming = next;
        }
    }

    /// Calls `unlink` for each jump that leads to a block; none does any more.
    fn cut_off(&mut self, id: BlockId, unlink: &mut impl FnMut(Link)) {
        while let Some(block) = self.blocks.get(id)
            && let incoming = block.incoming
            && let Some(connection) = self.links.get(incoming)
        {
            unlink(connection.link);
            self.disconnect(incoming);
        }
    }
}

/// What a page has.
#[derive(Debug)]
struct Page {
    /// Offset of the code that begins at each word; the miss stub's where none does.
    entries: [u32; WORDS],
    /// For each word the number of the block that begins there; where none does, of the first of the
    /// page's own links that wait for one, which is followed by others ([`Connection::next`]) and may be
    /// gone.
    at: [u32; WORDS],
    /// Words that some block was made from, one bit each; bits of blocks that were given up may
    /// still be set.
    translated: [u32; WORDS / 32],
    blocks: Vec<BlockId>,
    /// Some block here was one that runs much.
    hot: bool,
}

impl Page {
    fn mark(&mut self, words: Range<usize>) {
        for word in words {
            self.translated[word / 32] |= 1 << (word % 32);
        }
    }
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
    /// How many pages have code.
    with_code: usize,
    graph: Graph,
}

// UNSAFE BECAUSE: translated code looks blocks up by address, in tables that point into boxes.
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
            with_code: 0,
            graph: Graph {
                blocks: Queue::new(),
                links: Queue::new(),
            },
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
        self.with_code >= PAGES
    }

    /// Whether nothing is made from the page.
    pub fn is_new(&self, ram_page: u32) -> bool {
        self.pages
            .get(ram_page as usize)
            .is_none_or(Option::is_none)
    }

    /// Enters a block of `words` words that begins at word `first`, where no other does, and its links.
    pub fn add(&mut self, ram_page: u32, first: usize, words: usize, made: Made<'_>) -> Added {
        let Made { code, links, hot } = made;
        let behind = first + words.max(1);
        let id = self.graph.blocks.push(Block {
            ram_page,
            first: first as u16,
            last: (behind - 1) as u16,
            code,
            incoming: NONE,
            own: self.graph.links.next(),
            links: links.len() as u16,
            hot,
            live: true,
        });
        for link in links {
            self.graph.links.push(Connection {
                link: *link,
                ram_page,
                target: NONE,
                previous: NONE,
                next: NONE,
            });
        }
        let slot = &mut self.pages[ram_page as usize];
        let page = slot.get_or_insert_with(|| {
            self.with_code += 1;
            Box::new(Page {
                entries: [self.miss; WORDS],
                translated: [0; WORDS / 32],
                at: [NONE; WORDS],
                blocks: Vec::new(),
                hot: false,
            })
        });
        page.hot |= hot.is_some();
        self.tables[ram_page as usize + 1] = page.entries.as_ptr();
        page.entries[first] = code;
        page.blocks.push(id);
        page.mark(first..behind);
        let waiting = std::mem::replace(&mut page.at[first], id);
        Added { id, waiting }
    }

    /// Makes the links within a page that a block makes possible which was just added, and calls `make`
    /// with each and the offset of the code that it leads to: its own to blocks that are there, and those
    /// that waited for it. A link that is made here need not come back to be made.
    pub fn link_within(&mut self, added: Added, mut make: impl FnMut(Link, u32)) {
        let Added { id, mut waiting } = added;
        let graph = &mut self.graph;
        let Some(block) = graph.blocks.get(id).copied() else {
            return;
        };
        let Some(Some(page)) = self.pages.get_mut(block.ram_page as usize) else {
            return;
        };
        while let Some(next) = graph.waits(waiting, block.ram_page, block.first) {
            if let Some(link) = graph.connect(waiting, id) {
                make(link, block.code);
            }
            waiting = next;
        }
        for link in (block.own..).take(block.links.into()) {
            let link = link & ((1 << BITS) - 1);
            let Some(connection) = graph.links.get_mut(link) else {
                continue;
            };
            // One that leads to the block itself waited.
            let Some(to) = connection.link.to.filter(|_| connection.target == NONE) else {
                continue;
            };
            let there = &mut page.at[usize::from(to)];
            let code = page.entries[usize::from(to)];
            if code == self.miss {
                connection.next = std::mem::replace(there, link);
            } else if let Some(link) = graph.connect(link, *there) {
                make(link, code);
            }
        }
    }

    /// The number that the next link will have.
    pub fn next_link(&self) -> LinkId {
        self.graph.links.next()
    }

    /// A link, to be made to lead to the block that begins at a word; none when either is gone, or
    /// it leads there already.
    pub fn link(&mut self, id: LinkId, ram_page: u32, word: usize) -> Option<Link> {
        if self.graph.leads_to(id, ram_page, word) {
            return None;
        }
        let target = self.find(ram_page, word)?;
        self.graph.connect(id, target)
    }

    /// What is known of the code of the block that begins at a word, if it is that of one that runs
    /// much.
    pub fn hot(&self, ram_page: u32, word: usize) -> Option<Hot> {
        let block = self.find(ram_page, word);
        block.and_then(|id| self.graph.blocks.get(id)?.hot)
    }

    /// Makes the jumps of the block that begins at a word lead nowhere, and calls `unlink` for each that
    /// did. Gives how many instructions the block has.
    pub fn open(&mut self, ram_page: u32, word: usize, mut unlink: impl FnMut(Link)) -> u32 {
        let block = self.find(ram_page, word);
        let Some(block) = block.and_then(|id| self.graph.blocks.get(id)).copied() else {
            return 0;
        };
        for link in (block.own..).take(block.links.into()) {
            let link = link & ((1 << BITS) - 1);
            if let Some(connection) = self.graph.links.get(link)
                && connection.target != NONE
            {
                unlink(connection.link);
                self.graph.disconnect(link);
            }
        }
        u32::from(block.last - block.first) + 1
    }

    /// Whether a page has, or had, code that runs much.
    pub fn has_hot(&self, ram_page: u32) -> bool {
        let page = self.pages.get(ram_page as usize);
        page.is_some_and(|page| page.as_ref().is_some_and(|page| page.hot))
    }

    /// The block that begins at a word.
    fn find(&self, ram_page: u32, word: usize) -> Option<BlockId> {
        let page = self.pages.get(ram_page as usize)?.as_ref()?;
        (page.entries[word % WORDS] != self.miss).then_some(page.at[word % WORDS])
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
        unlink: impl FnMut(Link),
    ) -> (u32, bool) {
        let (from, to) = ((from / 4) as u16, (to / 4) as u16);
        let meets = |block: &Block| block.first <= to && block.last >= from;
        self.forget_if(ram_page, meets, unlink)
    }

    /// Forgets the block that begins at a word, and no other.
    pub fn forget_block(
        &mut self,
        ram_page: u32,
        word: usize,
        unlink: impl FnMut(Link),
    ) -> (u32, bool) {
        let begins = |block: &Block| usize::from(block.first) == word;
        self.forget_if(ram_page, begins, unlink)
    }

    /// Forgets the blocks that were made as ones that run much, from a word among others.
    pub fn forget_hot(
        &mut self,
        ram_page: u32,
        word: usize,
        unlink: impl FnMut(Link),
    ) -> (u32, bool) {
        let meets = |block: &Block| (block.first..=block.last).contains(&(word as u16));
        self.forget_if(
            ram_page,
            |block| block.hot.is_some() && meets(block),
            unlink,
        )
    }

    /// Forgets the blocks of which `goes` says so.
    fn forget_if(
        &mut self,
        ram_page: u32,
        goes: impl Fn(&Block) -> bool,
        mut unlink: impl FnMut(Link),
    ) -> (u32, bool) {
        let Some(Some(page)) = self.pages.get_mut(ram_page as usize) else {
            return (0, false);
        };
        let mut gone = 0;
        page.translated = [0; WORDS / 32];
        let mut ids = std::mem::take(&mut page.blocks);
        ids.retain(|id| {
            let Some(block) = self.graph.blocks.get_mut(*id) else {
                return false;
            };
            let (first, last) = (block.first, block.last);
            if !goes(block) {
                page.mark(first.into()..usize::from(last) + 1);
                return true;
            }
            block.live = false;
            page.entries[usize::from(first)] = self.miss;
            page.at[usize::from(first)] = NONE;
            self.graph.cut_off(*id, &mut unlink);
            gone += u32::from(last - first) + 1;
            false
        });
        page.blocks = ids;
        (gone, self.give_back(ram_page))
    }

    /// Gives a page's table back if it has no blocks; says whether.
    fn give_back(&mut self, ram_page: u32) -> bool {
        let slot = &mut self.pages[ram_page as usize];
        let empty = slot.as_ref().is_some_and(|page| page.blocks.is_empty());
        if empty {
            self.tables[ram_page as usize + 1] = self.nothing.as_ptr();
            *slot = None;
            self.with_code -= 1;
        }
        empty
    }

    /// Offset of the oldest block's code, and its page; of blocks that were forgotten, too.
    pub fn oldest(&self) -> Option<(u32, u32)> {
        let block = self.graph.blocks.items.front()?;
        Some((block.code, block.ram_page))
    }

    /// Takes the oldest block away, and calls `unlink` for each jump that led into it. Says whether
    /// it was there still, and whether its page has no blocks any more.
    pub fn give_up_oldest(&mut self, mut unlink: impl FnMut(Link)) -> (bool, bool) {
        let id = self.graph.blocks.first;
        self.graph.cut_off(id, &mut unlink);
        let Some(block) = self.graph.blocks.pop() else {
            return (false, false);
        };
        for _ in 0..block.links {
            self.graph.disconnect(self.graph.links.first);
            self.graph.links.pop();
        }
        if !block.live {
            return (false, false);
        }
        if let Some(Some(page)) = self.pages.get_mut(block.ram_page as usize) {
            page.entries[usize::from(block.first)] = self.miss;
            page.at[usize::from(block.first)] = NONE;
            page.blocks.retain(|known| *known != id);
        }
        (true, self.give_back(block.ram_page))
    }

    /// Host bytes held besides the code.
    pub fn bytes(&self) -> usize {
        self.tables.len() * 16
            + self.with_code * size_of::<Page>()
            + self.graph.blocks.bytes() * 5 / 4
            + self.graph.links.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(jump: u32) -> Link {
        Link {
            jump,
            stub: jump + 10,
            guard: None,
            to: None,
        }
    }

    fn made(code: u32, links: &[Link]) -> Made<'_> {
        let hot = None;
        Made { code, links, hot }
    }

    /// Forgets the blocks over the byte `at` of page 2; gives what is gone, and the jumps.
    fn forget(blocks: &mut Blocks, at: u32) -> (u32, bool, Vec<u32>) {
        let mut unlinked = Vec::new();
        let (gone, empty) = blocks.forget(2, at, at, |link| unlinked.push(link.jump));
        (gone, empty, unlinked)
    }

    fn give_up(blocks: &mut Blocks) -> (bool, bool, Vec<u32>) {
        let mut unlinked = Vec::new();
        let (live, empty) = blocks.give_up_oldest(|link| unlinked.push(link.jump));
        (live, empty, unlinked)
    }

    #[test]
    fn a_write_forgets_the_blocks_it_hits_and_unlinks_them() {
        let mut blocks = Blocks::new(4, 7);
        let id = blocks.next_link();
        blocks.add(2, 10, 5, made(100, &[link(300)]));
        blocks.add(2, 20, 1, made(200, &[]));
        assert!(blocks.link(id, 2, 12).is_none(), "no block begins there");
        assert_eq!(blocks.link(id, 2, 10).map(|l| l.jump), Some(300));
        assert!(blocks.holds_code(2, 56, 59) && !blocks.holds_code(2, 60, 79));
        assert_eq!(forget(&mut blocks, 60), (0, false, vec![]));
        assert_eq!(forget(&mut blocks, 58), (5, false, vec![300]));
        assert_eq!(blocks.entry(2, 10), None);
        assert_eq!(blocks.entry(2, 20), Some(200));
        assert_eq!(forget(&mut blocks, 80), (1, true, vec![]));
        assert!(blocks.is_new(2));
        // Their places in the queue go when they come to the front.
        assert_eq!(blocks.oldest(), Some((100, 2)));
        assert_eq!(give_up(&mut blocks), (false, false, vec![]));
        assert_eq!(give_up(&mut blocks), (false, false, vec![]));
        assert_eq!(blocks.oldest(), None);
        assert_eq!(blocks.link(id, 2, 10).map(|l| l.jump), None);
    }

    #[test]
    fn the_oldest_goes_with_its_links_and_what_leads_to_it() {
        let mut blocks = Blocks::new(4, 7);
        let ids = [0, 1, 2].map(|n| {
            let id = blocks.next_link();
            blocks.add(
                n,
                5,
                2,
                made(100 * n, &[link(100 * n + 1), link(100 * n + 2)]),
            );
            id
        });
        // Everything leads to the first and to the last, the first to itself as well.
        for id in ids {
            assert!(blocks.link(id, 0, 5).is_some() && blocks.link(id + 1, 2, 5).is_some());
        }
        assert_eq!(give_up(&mut blocks), (true, true, vec![201, 101, 1]));
        assert!(blocks.is_new(0) && !blocks.holds_code(0, 20, 27));
        assert_eq!(blocks.entry(1, 5), Some(100));
        // Its own link to the last is gone from that one's list.
        let mut unlinked = Vec::new();
        blocks.forget(2, 20, 20, |link| unlinked.push(link.jump));
        assert_eq!(unlinked, [202, 102]);
        assert_eq!(give_up(&mut blocks), (true, true, vec![]));
        assert_eq!(give_up(&mut blocks), (false, false, vec![]));
        assert_eq!(blocks.oldest(), None);
    }

    #[test]
    fn one_block_can_be_forgotten_without_those_around_it() {
        let mut blocks = Blocks::new(4, 7);
        blocks.add(2, 0, 9, made(100, &[]));
        let id = blocks.next_link();
        blocks.add(2, 2, 3, made(200, &[link(201)]));
        blocks.add(2, 4, 2, made(300, &[]));
        assert!(blocks.link(id, 2, 2).is_some());
        let mut unlinked = Vec::new();
        let gone = blocks.forget_block(2, 2, |link| unlinked.push(link.jump));
        assert_eq!((gone, unlinked), ((3, false), vec![201]));
        let left = [0, 2, 4].map(|word| blocks.entry(2, word));
        assert_eq!(left, [Some(100), None, Some(300)]);
        assert!(blocks.holds_code(2, 32, 32) && !blocks.holds_code(2, 36, 40));
    }

    #[test]
    fn a_block_that_is_opened_leads_nowhere_until_it_is_linked_again() {
        let mut blocks = Blocks::new(4, 7);
        blocks.add(2, 8, 3, made(50, &[link(51)]));
        let id = blocks.next_link();
        blocks.add(2, 0, 5, made(100, &[link(101), link(102), link(103)]));
        assert!(blocks.link(id, 2, 0).is_some() && blocks.link(id + 2, 2, 8).is_some());
        let mut unlinked = Vec::new();
        let words = blocks.open(2, 0, |link| unlinked.push(link.jump));
        assert_eq!((words, unlinked), (5, vec![101, 103]));
        assert_eq!(blocks.open(2, 0, |link| panic!("{link:?}")), 5);
        assert_eq!(blocks.open(2, 1, |link| panic!("{link:?}")), 0);
        assert!(blocks.link(id, 2, 0).is_some());
        assert_eq!(forget(&mut blocks, 32), (3, false, vec![]));
    }

    #[test]
    fn a_link_leads_to_one_block_at_a_time() {
        let mut blocks = Blocks::new(4, 7);
        let id = blocks.next_link();
        blocks.add(1, 0, 1, made(100, &[link(101)]));
        blocks.add(2, 0, 1, made(200, &[]));
        blocks.add(2, 1, 1, made(300, &[]));
        assert!(blocks.link(id, 2, 0).is_some() && blocks.link(id, 2, 1).is_some());
        assert_eq!(forget(&mut blocks, 0), (1, false, vec![]));
        assert_eq!(forget(&mut blocks, 4), (1, true, vec![101]));
    }

    /// What is linked when a block is added to a page.
    fn linked(blocks: &mut Blocks, page: u32, word: usize, made: Made<'_>) -> Vec<(u32, u32)> {
        let mut linked = Vec::new();
        let added = blocks.add(page, word, 2, made);
        blocks.link_within(added, |link, code| linked.push((link.jump, code)));
        linked
    }

    #[test]
    fn links_within_a_page_are_made_as_soon_as_both_ends_are_there() {
        let mut blocks = Blocks::new(4, 7);
        let within = |jump, to| Link {
            to: Some(to),
            ..link(jump)
        };
        // One to itself, two ahead to one place, one ahead to what comes late, and one elsewhere.
        let links = [
            within(101, 0),
            within(102, 8),
            within(103, 9),
            within(104, 8),
            link(105),
        ];
        let first = linked(&mut blocks, 2, 0, made(100, &links));
        assert_eq!(first, [(101, 100)]);
        // The same word of another page is not what they wait for.
        assert_eq!(linked(&mut blocks, 1, 8, made(200, &[])), []);
        let second = linked(&mut blocks, 2, 8, made(300, &[within(301, 0)]));
        assert_eq!(second, [(104, 300), (102, 300), (301, 100)]);
        assert_eq!(forget(&mut blocks, 32), (2, false, vec![102, 104]));
        // They come back once more now, and wait no longer.
        assert_eq!(linked(&mut blocks, 2, 8, made(400, &[])), []);
        // What waits in code that is gone is passed over, even if its number is another's now.
        let (live, ..) = give_up(&mut blocks);
        assert!(live);
        assert_eq!(linked(&mut blocks, 2, 9, made(500, &[])), []);
    }

    #[test]
    fn numbers_begin_again() {
        let mut queue = Queue::new();
        for n in 0..(1u32 << BITS) + 10 {
            let id = queue.push(n);
            if n > 5 {
                assert_eq!(queue.pop(), Some(n - 6));
                assert_eq!(queue.get(id), Some(&n));
                assert_eq!(queue.get(id.wrapping_sub(6) & ((1 << BITS) - 1)), None);
            }
        }
        assert_eq!(queue.get(NONE), None);
        assert_eq!(queue.next(), 10);
    }
}
