//! Delays: the guest reads the time base again and again, and does nothing else until enough has passed.
//!
//! What comes out of such a loop depends on the time alone, so the hardware may let it run ahead
//! ([`Hw::run_ahead`](crate::Hw::run_ahead)) in place of burning the host's. It is no loop of this kind if it accesses memory,
//! or counts its rounds: a driver that waits for a device, and gives up after a while, is to give the
//! device the time.

use ppc440_isa::{Insn, Word, decode, spr};

/// Instructions that a delay loop may have.
const LONGEST_LOOP: u32 = 12;

/// How often the time is read before a loop is looked at: some twenty microseconds. Drivers poll devices
/// with shorter delays between, and they stay as long as they are.
const READS: u32 = 128;

/// The part of a delay by which time runs ahead at each read, and so the most by which a delay is longer
/// than it was meant: an eighth.
const STEP: u64 = 8;

/// Reads of the time base, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    /// Where the first one was; the others are near, as compilers write out several rounds of a loop.
    pc: u32,
    /// The time base at the first one.
    start: u64,
    /// Completed instructions at the last one.
    retired: u64,
    /// How many there were, as long as they are counted.
    reads: u32,
    /// They are a delay loop's.
    is_loop: bool,
}

impl Delay {
    /// The instruction at `pc` reads the time base's lower half, which is `now`, when so many are complete;
    /// says whether there were enough reads one after the other.
    #[inline]
    pub fn reads(&mut self, pc: u32, retired: u64, now: u64) -> bool {
        let since = retired.wrapping_sub(self.retired);
        self.retired = retired;
        let is_near = pc.wrapping_sub(self.pc).cast_signed().unsigned_abs() < 4 * LONGEST_LOOP;
        if !is_near || since > LONGEST_LOOP.into() {
            *self = Delay {
                pc,
                start: now,
                retired,
                reads: 0,
                is_loop: false,
            };
            return false;
        }
        self.reads += 1;
        self.reads >= READS
    }

    /// How far time may run ahead of `now`, after enough reads of which the last is at `pc`; 0 if it is in
    /// no delay loop, and then it is looked at again after as many.
    #[cold]
    pub fn step(&mut self, pc: u32, now: u64, fetch: impl FnMut(u32) -> Option<u32>) -> u64 {
        self.reads = 0;
        self.is_loop = self.is_loop || waits_for_time(pc, fetch);
        if !self.is_loop {
            return 0;
        }
        self.reads = READS;
        now.saturating_sub(self.start) / STEP
    }
}

/// Whether the read of the time base at `read` is in a loop that goes on or ends by what was read, and by
/// nothing else.
fn waits_for_time(read: u32, mut fetch: impl FnMut(u32) -> Option<u32>) -> bool {
    comes_back(read, read, Round::default(), LONGEST_LOOP, &mut fetch)
}

/// Whether a way from `pc` leads back to `read` within so many instructions, as a round of a delay loop;
/// `round` is what was on the way to `pc`.
fn comes_back(
    mut pc: u32,
    read: u32,
    mut round: Round,
    left: u32,
    fetch: &mut impl FnMut(u32) -> Option<u32>,
) -> bool {
    for left in (0..left).rev() {
        let Some(step) = fetch(pc).and_then(|word| round.take(pc, Word(word))) else {
            return false;
        };
        let next = pc.wrapping_add(4);
        pc = match step {
            Step::Next => next,
            Step::To(to) => to,
            // One of the two leaves the loop, or both are in it.
            Step::Either(to) if to == read || next == read => return round.is_same_each_time(),
            Step::Either(to) => {
                if comes_back(next, read, round, left, fetch) {
                    return true;
                }
                to
            }
        };
        if pc == read {
            return round.is_same_each_time();
        }
    }
    false
}

/// Where an instruction of a loop leads.
enum Step {
    Next,
    To(u32),
    /// There or to the next one, by the time that was read.
    Either(u32),
}

/// What a round of a loop does: sets of GPRs, a bit each, and of CR fields.
#[derive(Clone, Copy, Default)]
struct Round {
    /// Hold what depends on the time that was read.
    timed: u32,
    /// Hold just the time that was read.
    fresh: u32,
    timed_fields: u8,
    /// Were written.
    written: u32,
    /// Were read before they were written.
    given: u32,
    /// A branch was decided by the time.
    ends: bool,
}

impl Round {
    /// Takes note of an instruction; gives where it leads, and none if a loop with it does more than wait for
    /// time.
    fn take(&mut self, pc: u32, word: Word) -> Option<Step> {
        use Insn::*;
        const OE: u32 = 0x400;
        let bit = |gpr: usize| 1u32 << (gpr & 31);
        let (rt, ra, rb) = (bit(word.rt()), bit(word.ra()), bit(word.rb()));
        let insn = decode(word.0)?;
        match insn {
            Mftb | Mfspr if matches!(word.spr(), spr::TBL | spr::TBU) => {
                self.written |= rt;
                self.timed |= rt;
                self.fresh |= rt;
            }
            Cmp | Cmpl | Cmpi | Cmpli => {
                let by_register = matches!(insn, Cmp | Cmpl);
                let is_timed = self.reads(if by_register { ra | rb } else { ra });
                let field = 1 << word.crfd();
                self.timed_fields &= !field;
                self.timed_fields |= if is_timed { field } else { 0 };
            }
            // Without a count in CTR, and without a link.
            Bc if word.bo() & 0b10100 == 0b00100 && !word.lk() => {
                let is_timed = self.timed_fields >> (word.bi() / 4) & 1 != 0;
                self.ends = true;
                return is_timed.then_some(Step::Either(target(pc, word, word.bd())));
            }
            B if !word.lk() => return Some(Step::To(target(pc, word, word.li()))),
            // What hardware takes for hints changes nothing.
            Ori if word.rs() == word.ra() && word.ui() == 0 => {}
            Or if word.rs() == word.ra() && word.rs() == word.rb() && !word.rc() => {}
            Addi | Addis => self.sets(rt, if word.ra() == 0 { 0 } else { ra }),
            Ori => self.sets(ra, rt),
            Add | Subf if word.0 & OE == 0 && !word.rc() => self.sets(rt, ra | rb),
            Or | And if !word.rc() => self.sets(ra, rt | rb),
            _ => return None,
        }
        Some(Step::Next)
    }

    /// Whether one of the GPRs depends on the time.
    fn reads(&mut self, sources: u32) -> bool {
        self.given |= sources & !self.written;
        self.timed & sources != 0
    }

    fn sets(&mut self, target: u32, sources: u32) {
        let is_timed = self.reads(sources);
        self.written |= target;
        self.fresh &= !target;
        self.timed &= !target;
        self.timed |= if is_timed { target } else { 0 };
    }

    /// Whether no round leaves anything to the next but the time: a loop that counts its rounds is about
    /// them.
    fn is_same_each_time(&self) -> bool {
        self.ends && self.given & self.written & !self.fresh == 0
    }
}

fn target(pc: u32, word: Word, displacement: i32) -> u32 {
    let base = if word.aa() { 0 } else { pc };
    base.wrapping_add_signed(displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MFTB_9: u32 = 0x7D2C_42E6;
    const MFTBU_8: u32 = 0x7D0D_42E6;
    const MFTBU_10: u32 = 0x7D4D_42E6;
    /// `subf r9,r10,r9`
    const SUBF: u32 = 0x7D2A_4850;
    /// `cmplw r9,r3`
    const CMPLW: u32 = 0x7C09_1840;
    const NOP: u32 = 0x6000_0000;

    fn blt(words: i32) -> u32 {
        0x4180_0000 | ((4 * words).cast_unsigned() & 0xFFFC)
    }

    fn bge(words: i32) -> u32 {
        0x4080_0000 | ((4 * words).cast_unsigned() & 0xFFFC)
    }

    fn b(words: i32) -> u32 {
        0x4800_0000 | ((4 * words).cast_unsigned() & 0x03FF_FFFC)
    }

    /// Whether the first `mftb r9` of the program is one of a delay loop.
    fn waits(program: &[u32]) -> bool {
        let read = program
            .iter()
            .position(|word| *word == MFTB_9)
            .expect("it reads");
        let fetch = |pc: u32| program.get((pc.checked_sub(0x1000)? / 4) as usize).copied();
        waits_for_time(0x1000 + 4 * read as u32, fetch)
    }

    #[test]
    fn a_loop_that_ends_by_the_time_is_a_delay() {
        // Linux' `__delay`, with and without what makes hardware threads slower.
        assert!(waits(&[MFTB_9, SUBF, CMPLW, blt(-3)]));
        assert!(waits(&[NOP, MFTB_9, SUBF, CMPLW, blt(-4)]));
        assert!(waits(&[MFTB_9, SUBF, CMPLW, bge(3), NOP, b(-5)]));
        // Entered in the middle, as compilers turn loops.
        assert!(waits(&[b(3), NOP, NOP, MFTB_9, SUBF, CMPLW, blt(-5)]));
        // Two rounds, of which the first leaves to what is before it; from its other read, too.
        let two = [
            0x3821_0010,
            0x4E80_0020,
            MFTB_9,
            SUBF,
            CMPLW,
            bge(-5),
            MFTB_9,
            SUBF,
            CMPLW,
            blt(-7),
        ];
        assert!(waits(&two));
        let turned = [
            0x3821_0010,
            0x4E80_0020,
            NOP,
            SUBF,
            CMPLW,
            bge(-5),
            MFTB_9,
            SUBF,
            CMPLW,
            blt(-7),
        ];
        assert!(waits(&turned));
        // Both halves, read until they belong together; then the lower one decides.
        let both = [
            MFTBU_8,
            MFTB_9,
            MFTBU_10,
            0x7C0A_4040,
            0x4082_FFF0,
            CMPLW,
            blt(-6),
        ];
        assert!(waits(&both));
    }

    #[test]
    fn a_loop_that_does_more_is_none() {
        // A load between: perhaps it ends by that.
        assert!(!waits(&[MFTB_9, 0x80C5_0000, SUBF, CMPLW, blt(-4)]));
        // `addi r6,r6,1`: it counts how often it goes round, and `addi r3,r3,-1` ends by that.
        assert!(!waits(&[MFTB_9, 0x38C6_0001, SUBF, CMPLW, blt(-4)]));
        assert!(!waits(&[MFTB_9, 0x3863_FFFF, 0x2C03_0000, 0x4082_FFF4]));
        // `bdnz`, a call, a record of CR0, and a compare of something else.
        assert!(!waits(&[MFTB_9, SUBF, CMPLW, 0x4200_FFF4]));
        assert!(!waits(&[MFTB_9, SUBF, CMPLW, blt(-3) | 1]));
        assert!(!waits(&[MFTB_9, SUBF | 1, CMPLW, blt(-3)]));
        assert!(!waits(&[MFTB_9, 0x7C04_1840, blt(-2)]));
        // The time of the round before is kept: `mr r10,r9`.
        assert!(!waits(&[MFTB_9, SUBF, CMPLW, 0x7D2A_4B78, blt(-4)]));
        // A branch that goes nowhere back, one that never ends, and one that is far.
        assert!(!waits(&[MFTB_9, SUBF, CMPLW, blt(1), NOP]));
        assert!(!waits(&[MFTB_9, b(-1)]));
        let mut long = [NOP; 24];
        long[20..].copy_from_slice(&[MFTB_9, SUBF, CMPLW, blt(-23)]);
        assert!(!waits(&long));
    }
}
