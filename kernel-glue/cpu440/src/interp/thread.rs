//! A page's operations, and running from one to the next without looking where they end.
//!
//! Behind the last operation of a page stands one that stops. Going on is then an addition and a
//! jump; with a slice it is a compare, a count and three moves as well, a fifth of all the host's
//! instructions. That nothing runs past the end rests on this file alone: operations are reached
//! only through [`Thread`], which only [`PageOps`] makes.
// UNSAFE BECAUSE: one operation goes on to the next by address, without a look at the page's end.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;

use ppc440_isa::{Regs, Word};

use super::{Exec, Flow, Op};

/// Words of a page.
pub(crate) const WORDS: usize = 1024;

/// The operation that stops: it does nothing, and does not go on.
const END: Op = Op {
    run: end,
    imm: 0,
    word: Word(0),
};

fn end(exec: &mut Exec, _: &mut Regs, at: Thread<'_>) -> Flow {
    exec.stopped = at.0.as_ptr().addr();
    Flow::Next
}

/// Where running code stands: an operation with an [`END`] at or somewhere behind it.
#[derive(Clone, Copy)]
pub(crate) struct Thread<'a>(NonNull<Op>, PhantomData<&'a Op>);

impl<'a> Thread<'a> {
    /// The operation.
    #[inline(always)]
    pub fn op(self) -> &'a Op {
        // SAFETY: the pointer came from a slice borrowed for 'a, see `from`, and `go_on` moves it
        // within that slice only.
        unsafe { self.0.as_ref() }
    }

    /// Stops here, with `flow`.
    #[inline(always)]
    pub fn stop(self, exec: &mut Exec, flow: Flow) -> Flow {
        exec.stopped = self.0.as_ptr().addr();
        flow
    }

    /// Goes on with the operation behind this one, which is not [`END`].
    #[inline(always)]
    pub fn go_on(self, exec: &mut Exec, regs: &mut Regs) -> Flow {
        // SAFETY: an `END` stands somewhere behind this operation in the slice that `from` was
        // given (this one is not it: `end` is the only handler of `END`, and does not call this).
        // So the next operation is inside the slice, and an `END` is at or behind it.
        let next = Thread(unsafe { self.0.add(1) }, PhantomData);
        (next.op().run)(exec, regs, next)
    }

    /// Runs `ops`, whose last is [`END`], from the first on; gives the number of the one that
    /// stopped.
    fn run(ops: &'a [Op], exec: &mut Exec, regs: &mut Regs) -> (Flow, usize) {
        let Some(first) = ops.first() else {
            return (Flow::Next, 0);
        };
        // Not from `first`, which would allow access to one operation only.
        let thread = Thread(NonNull::from(ops).cast(), PhantomData);
        let flow = (first.run)(exec, regs, thread);
        let bytes = exec.stopped.wrapping_sub(ops.as_ptr().addr());
        (flow, bytes / size_of::<Op>())
    }
}

/// The operations of a page's words, and [`END`] behind them.
#[derive(Debug)]
pub(crate) struct PageOps(Box<[Op; WORDS + 1]>);

impl PageOps {
    /// A page of undecoded words.
    pub fn new() -> Self {
        let mut ops = Box::new([Op::UNDECODED; WORDS + 1]);
        ops[WORDS] = END;
        PageOps(ops)
    }

    /// Replaces the operation of a word.
    pub fn set(&mut self, word: usize, op: Op) {
        self.0[..WORDS][word] = op;
    }

    /// Makes all words undecoded.
    pub fn clear(&mut self) {
        self.0[..WORDS].fill(Op::UNDECODED);
    }

    /// Runs from word `first` on, `limit` operations at the most; gives why it stopped and the
    /// number of operations begun, the one that stopped included.
    #[inline]
    pub fn run(
        &mut self,
        first: usize,
        limit: u32,
        exec: &mut Exec,
        regs: &mut Regs,
    ) -> (Flow, u32) {
        let first = first % WORDS;
        let (flow, count) = if limit as usize >= WORDS - first {
            Thread::run(&self.0[first..], exec, regs)
        } else {
            // An `END` of its own, in the place of the operation that must not run.
            let end = first + limit as usize;
            let kept = std::mem::replace(&mut self.0[end], END);
            let stopped = Thread::run(&self.0[first..=end], exec, regs);
            self.0[end] = kept;
            stopped
        };
        (flow, count as u32 + u32::from(flow != Flow::Next))
    }
}

/// The operations of a block that is in no page, and [`END`] behind them while they run.
#[derive(Debug, Default)]
pub(crate) struct BlockOps(Vec<Op>);

impl BlockOps {
    /// Begins another block.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds an operation.
    pub fn push(&mut self, op: Op) {
        self.0.push(op);
    }

    /// Runs the operations; gives why it stopped and the number of operations begun, the one that
    /// stopped included.
    pub fn run(&mut self, exec: &mut Exec, regs: &mut Regs) -> (Flow, u32) {
        self.0.push(END);
        let (flow, count) = Thread::run(&self.0, exec, regs);
        self.0.pop();
        (flow, count as u32 + u32::from(flow != Flow::Next))
    }
}

/// Runs one operation that is in no page.
pub(crate) fn run_one(op: Op, exec: &mut Exec, regs: &mut Regs) -> Flow {
    Thread::run(&[op, END], exec, regs).0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::interp::predecode;
    use crate::mmu::Mmu;
    use crate::ram::{Ram, Region};

    fn exec() -> Exec {
        let ram = Ram::new(Arc::new(Region::new(4096).expect("memory"))).expect("RAM");
        Exec::new(Mmu::new(ram).expect("tables"))
    }

    /// `addi r3,r3,1`
    fn count() -> Op {
        predecode(0x3863_0001, 0).0
    }

    #[test]
    fn a_page_stops_at_its_end_and_at_the_limit() {
        let (mut exec, mut regs) = (exec(), Regs::default());
        let mut page = PageOps::new();
        for word in 0..WORDS {
            page.set(word, count());
        }
        for (first, limit, begun) in [(0, 5000, 1024), (1020, 4, 4), (1020, 3, 3), (7, 1, 1)] {
            let before = regs.gpr[3];
            assert_eq!(
                page.run(first, limit, &mut exec, &mut regs),
                (Flow::Next, begun)
            );
            assert_eq!(regs.gpr[3] - before, begun);
        }
        // The limit left the operations as they were.
        assert_eq!(page.run(0, 5000, &mut exec, &mut regs), (Flow::Next, 1024));
    }

    #[test]
    fn the_operation_that_stopped_is_counted() {
        let (mut exec, mut regs) = (exec(), Regs::default());
        let mut page = PageOps::new();
        page.set(10, count());
        page.set(11, count());
        assert_eq!(
            page.run(10, 100, &mut exec, &mut regs),
            (Flow::Undecoded, 3)
        );
        page.clear();
        assert_eq!(
            page.run(10, 100, &mut exec, &mut regs),
            (Flow::Undecoded, 1)
        );
        assert_eq!(run_one(count(), &mut exec, &mut regs), Flow::Next);
        assert_eq!(regs.gpr[3], 3);
    }
}
