//! The first runs of code, which are the interpreter's: what runs once or twice is not worth a
//! translation, which takes as long as the interpreter takes for it seven times.

use ppc440_isa::Regs;

use super::frontend::LONGEST;
use crate::interp::{BlockOps, Exec, Flow, predecode};
use crate::watch::Keeper;

const PAGE: u32 = 4096;

/// How often the interpreter runs code before it is translated. Of the blocks of a Linux boot, a quarter
/// run no more than twice, and half at least sixteen times.
const RUNS: u8 = 2;

/// Counters. Places that share one count together, so some of their code is translated early.
const COUNTERS: usize = 1 << 15;

/// Counts the runs of code by its place, and does the first ones.
#[derive(Debug)]
pub(super) struct FirstRuns {
    counters: Box<[u8; COUNTERS]>,
    /// How many runs of each place are first ones.
    pub most: u8,
    ops: BlockOps,
    /// Instructions that were run.
    pub instructions: u64,
}

impl FirstRuns {
    pub fn new() -> Self {
        let counters = vec![0; COUNTERS].into_boxed_slice();
        FirstRuns {
            counters: counters
                .try_into()
                .expect("as many counters as were asked for"),
            most: RUNS,
            ops: BlockOps::default(),
            instructions: 0,
        }
    }

    /// Counts a run of the code at a RAM address, a multiple of 4; says whether it is one of the first.
    #[inline]
    pub fn count(&mut self, ram: u32) -> bool {
        // The address's bits are all in the product's upper ones.
        let place = ram.wrapping_mul(0x9E37_79B1) >> (u32::BITS - COUNTERS.ilog2());
        let counter = &mut self.counters[place as usize];
        let is_first = *counter < self.most;
        *counter += u8::from(is_first);
        is_first
    }

    /// Runs the block that `regs.pc` stands at, word `word` of a RAM page, for at most `left`
    /// instructions, which are taken off. Gives why it stopped, as the interpreter has it; `pc` and `left`
    /// are as it asks for then.
    pub fn run(
        &mut self,
        exec: &mut Exec,
        regs: &mut Regs,
        (ram_page, word): (u32, usize),
        left: &mut u32,
    ) -> Flow {
        let page = ram_page << 12;
        // A block that writes over itself must notice, as translated code does.
        let is_watched = exec.mmu.ram.watch().watched(page);
        if !is_watched {
            exec.mmu.forbid_fast_stores(page);
            exec.mmu.ram.watch().set(ram_page, Keeper::FirstRun, true);
        }
        self.ops.clear();
        let offsets = (4 * word as u32..PAGE).step_by(4);
        for offset in offsets.take(LONGEST.min(*left as usize)) {
            // Inside RAM, since the page is.
            let word = exec.mmu.ram.load(page + offset).unwrap_or(0);
            let (op, ends_block) = predecode(word, offset);
            self.ops.push(op);
            if ends_block {
                break;
            }
        }
        let start = regs.pc;
        regs.pc = start & !(PAGE - 1);
        let (flow, begun) = self.ops.run(exec, regs);
        if !is_watched {
            exec.mmu.ram.watch().set(ram_page, Keeper::FirstRun, false);
        }
        let behind = start.wrapping_add(4 * begun);
        regs.pc = match flow {
            Flow::Jump => regs.pc,
            Flow::Trap | Flow::Undecoded => behind.wrapping_sub(4),
            Flow::Next | Flow::CodeChanged | Flow::Call | Flow::Stop => behind,
        };
        let is_complete = !matches!(flow, Flow::Trap | Flow::Undecoded | Flow::Call);
        let completed = begun - u32::from(!is_complete);
        *left -= completed;
        self.instructions += u64::from(completed);
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_runs_of_a_place_are_counted_apart_from_those_beside_it() {
        let mut runs = FirstRuns::new();
        for place in [0, 4, 0x1000, 0x0FFF_FFFC] {
            for run in 0..RUNS {
                assert!(runs.count(place), "{place:x} {run}");
            }
            assert!(!runs.count(place), "{place:x}");
            assert!(!runs.count(place), "{place:x}");
        }
    }
}
