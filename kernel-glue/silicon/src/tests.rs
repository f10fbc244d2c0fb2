//! What silicon asks for, rule by rule, with a host and a guest that do as they are told.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use ppc440_isa::regs::{esr, msr};
use ppc440_isa::{Access, Mapping, Mode, ProgramCause, Regs, Spaces, Supervisor, Trap};
use ppc440_kvm::{Hw, Pins};

use crate::code::seat;
use crate::port::{Reservation, Stop};
use crate::scripted::{Asked, Scripted};
use crate::silicon::{Silicon, Window};

const WINDOW: Window = Window {
    first: 0,
    last: 62,
    tid: 0xC0,
};

/// Where the guest's code and data are, in space 3.
const CODE: u32 = 0x1000_0000;
const DATA: u32 = 0x2000_0000;

const LWZ: u32 = 0x80A4_0000;
const STWCX: u32 = 0x7CA0_212D;
const LWARX: u32 = 0x7CA0_2028;
const MFMSR: u32 = 0x7C60_00A6;
const FADD: u32 = 0xFC22_182A;

/// A core that answers as it is told.
#[derive(Default)]
struct Core {
    answers: VecDeque<bool>,
    seen: Vec<Trap>,
}

impl Supervisor for Core {
    fn trap(&mut self, _: &mut dyn Spaces, _: &mut Regs, trap: Trap) -> bool {
        self.seen.push(trap);
        self.answers.pop_front().unwrap_or(false)
    }
}

struct Bench {
    hw: Silicon<Scripted>,
    core: Core,
    regs: Regs,
}

fn stop(number: u8, dear: u32, word: u32) -> Stop {
    Stop {
        number,
        esr: match number {
            6 => esr::PPR,
            _ if word == STWCX => esr::ST,
            _ => 0,
        },
        dear,
        word: Some(word),
    }
}

impl Bench {
    /// A guest with one page of code at RAM 0 and one of data at RAM 0x4000.
    fn new() -> Self {
        let mut hw = Silicon::new(Scripted::new(), WINDOW).expect("a window");
        hw.select(Mode::new(0, 0), 3, 3);
        hw.map(3, CODE, &Mapping::page(CODE, 0));
        hw.map(3, DATA, &Mapping::page(DATA, 0x4000));
        hw.port.asked.clear();
        let regs = Regs {
            pc: CODE,
            ..Regs::default()
        };
        Bench {
            hw,
            core: Core::default(),
            regs,
        }
    }

    /// The guest's next turn goes on to `pc` and ends so.
    fn turn(&mut self, pc: u32, stop: Stop) {
        let act = move |regs: &mut Regs| {
            regs.pc = pc;
            stop
        };
        self.hw.port.acts.push_back(Box::new(act));
    }

    /// Enters, with the core's answers to the traps before the last.
    fn enter(&mut self, answers: &[bool]) -> Trap {
        self.core.answers = answers.iter().copied().collect();
        self.core.seen.clear();
        let trap = self.hw.enter(&mut self.regs, u32::MAX, &mut self.core);
        assert!(self.hw.port.acts.is_empty(), "turns that were not made");
        trap
    }

    fn turns(&self) -> Vec<crate::port::Turn> {
        let asked = self.hw.port.asked.iter();
        let turns = asked.filter_map(|asked| match asked {
            Asked::Enter(turn) => Some(*turn),
            _ => None,
        });
        turns.collect()
    }

    fn writes(&self) -> Vec<(u8, u32)> {
        let asked = self.hw.port.asked.iter();
        let writes = asked.filter_map(|asked| match asked {
            Asked::Write(index, words, _) => Some((*index, words[0])),
            _ => None,
        });
        writes.collect()
    }

    fn count(&self, what: &Asked) -> usize {
        self.hw
            .port
            .asked
            .iter()
            .filter(|asked| *asked == what)
            .count()
    }
}

const LOAD_FAULT: Trap = Trap::Data {
    ea: DATA + 8,
    access: Access::Load,
    word: LWZ,
};

fn program(word: u32) -> Trap {
    Trap::Program {
        cause: ProgramCause::Privileged,
        word,
    }
}

#[test]
fn an_entry_that_the_host_took_is_written_again_without_the_core() {
    let mut bench = Bench::new();
    bench.turn(CODE, stop(14, 0, 0));
    bench.turn(CODE + 4, stop(13, DATA + 8, LWZ));
    bench.turn(CODE + 4, stop(2, DATA + 8, LWZ));
    assert_eq!(bench.enter(&[]), LOAD_FAULT);
    assert_eq!(bench.core.seen, [LOAD_FAULT]);
    assert_eq!(bench.writes(), [(0, CODE | 0x310), (1, DATA | 0x310)]);
    assert_eq!(bench.hw.counts().stolen, 2);
}

#[test]
fn a_miss_of_what_nobody_gave_is_the_cores() {
    let mut bench = Bench::new();
    bench.turn(CODE + 4, stop(13, DATA + 0x1000, LWZ));
    let ea = DATA + 0x1000;
    let access = Access::Load;
    assert_eq!(
        bench.enter(&[]),
        Trap::Data {
            ea,
            access,
            word: LWZ
        }
    );
    assert!(!bench.hw.holds(3, ea) && bench.hw.holds(3, DATA) && !bench.hw.holds(4, DATA));
    bench.regs.pc = CODE + 0x1000;
    bench.turn(CODE + 0x1000, stop(14, 0, 0));
    assert_eq!(bench.enter(&[]), Trap::Fetch);
}

#[test]
fn what_overlaps_goes_before_a_new_entry_comes_and_gives_its_place() {
    let mut bench = Bench::new();
    for page in 1..4 {
        let mapping = Mapping::page(DATA + 0x1000 * page, 0x4000 + 0x1000 * page);
        bench.hw.map(3, mapping.ea, &mapping);
    }
    bench.hw.map(4, DATA, &Mapping::page(DATA, 0x4000));
    bench.hw.port.asked.clear();
    // The same again, and then all of it as one page of 16 KB.
    bench.hw.map(3, DATA, &Mapping::page(DATA, 0x4000));
    assert_eq!(bench.writes(), [(1, DATA | 0x310)]);
    let whole = Mapping {
        bytes: 0x4000,
        ..Mapping::page(DATA, 0x4000)
    };
    bench.hw.map(3, DATA + 0x2000, &whole);
    let writes = bench.writes();
    assert_eq!(writes[1..4], [(2, 0), (3, 0), (4, 0)]);
    assert_eq!(writes[4..], [(1, DATA | 0x320)]);
    assert!(bench.hw.holds(4, DATA), "another space's");
    // A page in the middle of a larger one.
    bench.hw.port.asked.clear();
    bench
        .hw
        .map(3, DATA + 0x1000, &Mapping::page(DATA + 0x1000, 0x5000));
    assert_eq!(bench.writes(), [(1, (DATA + 0x1000) | 0x310)]);
    assert!(!bench.hw.holds(3, DATA));
}

#[test]
fn a_removal_takes_what_it_meets_and_no_more() {
    let mut bench = Bench::new();
    bench.hw.unmap(4, 0, 0x4000_0000);
    bench.hw.unmap(3, DATA + 0x1000, 0x1000);
    assert_eq!(bench.writes(), []);
    bench.hw.unmap(3, 0, 0x4000_0000);
    let mut writes = bench.writes();
    writes.sort_unstable();
    assert_eq!(writes, [(0, 0), (1, 0)]);
    bench.hw.map(5, 0xFFFF_F000, &Mapping::page(0xFFFF_F000, 0));
    bench.hw.clear(5);
    assert!(!bench.hw.holds(5, 0xFFFF_F000));
}

#[test]
fn retired_grows_where_pc_does_and_where_the_core_says_so_and_nowhere_else() {
    let mut bench = Bench::new();
    let mut grows = |pc, number, by: u64| {
        let before = bench.hw.retired();
        bench.turn(pc, stop(number, DATA, LWZ));
        bench.enter(&[]);
        assert_eq!(bench.hw.retired() - before, by, "{pc:x}");
        bench.regs.pc
    };
    grows(CODE, 5, 0);
    grows(CODE, 5, 0);
    grows(CODE + 0x20, 5, 1);
    // `sc` itself is counted when its interrupt is taken.
    grows(CODE + 0x24, 8, 0);
    grows(CODE + 0x30, 8, 1);
    let before = bench.hw.retired();
    bench.hw.retire();
    assert_eq!(bench.hw.retired() - before, 1);
}

#[test]
fn a_deadline_is_armed_once_and_ends_the_turn_that_it_interrupts() {
    let mut bench = Bench::new();
    assert_eq!(bench.hw.budget(Some(500)), u32::MAX);
    for now in [100, 500] {
        bench.hw.port.now = now;
        bench.turn(CODE + 4, stop(10, 0, 0));
        if now == 100 {
            bench.turn(CODE + 8, stop(5, DATA + 8, LWZ));
        }
        let trap = bench.enter(&[]);
        assert_eq!(trap == Trap::Budget, now == 500, "{trap:?}");
    }
    let armed = [Some(500), None].map(|at| bench.count(&Asked::Arm(at)));
    assert_eq!(armed, [1, 0]);
    assert_eq!(bench.hw.budget(None), u32::MAX);
    bench.turn(CODE + 8, stop(5, DATA + 8, LWZ));
    bench.enter(&[]);
    assert_eq!(bench.count(&Asked::Arm(None)), 1);
}

#[test]
fn the_hosts_interrupts_are_its_own_unless_it_wants_the_thread() {
    for number in [0, 1, 4, 10, 11, 12, 15] {
        let mut bench = Bench::new();
        bench.turn(CODE + 4, stop(number, 0, 0));
        bench.turn(CODE + 8, stop(5, DATA + 8, LWZ));
        assert_eq!(bench.enter(&[]), LOAD_FAULT, "{number}");
        assert_eq!(bench.count(&Asked::Interrupted(number)), 1);
        bench.hw.port.wanted = true;
        bench.turn(CODE + 4, stop(number, 0, 0));
        assert_eq!(bench.enter(&[]), Trap::Attention, "{number}");
    }
}

#[test]
fn a_stwcx_that_faults_had_a_reservation_if_the_hardware_says_so() {
    // Data storage comes only with a reservation, whatever can be seen of it afterwards.
    let table = [
        (2, false, true),
        (2, true, true),
        (13, false, false),
        (13, true, true),
    ];
    for (number, held, seen) in table {
        let mut bench = Bench::new();
        bench.hw.port.reservation = held;
        bench.turn(CODE, stop(number, DATA + 0x1004, STWCX));
        bench.enter(&[]);
        assert_eq!(bench.regs.reservation, seen, "{number} {held}");
        // It goes back as it is then, the core having done nothing to it.
        bench.turn(CODE, stop(5, DATA, LWZ));
        bench.enter(&[]);
        let expected = match seen {
            true => Reservation::Hold,
            false => Reservation::Drop,
        };
        assert_eq!(bench.turns()[1].reservation, expected);
    }
}

#[test]
fn a_reservation_stays_in_the_hardware_as_long_as_the_core_goes_on() {
    let mut bench = Bench::new();
    bench.hw.port.reservation = true;
    bench.turn(CODE, stop(6, 0, MFMSR));
    bench.turn(CODE, stop(6, 0, MFMSR));
    bench.turn(CODE, stop(13, DATA + 0x1000, LWARX));
    bench.turn(CODE, stop(6, 0, MFMSR));
    bench.enter(&[true, true, true]);
    let seen: Vec<_> = bench.turns().iter().map(|turn| turn.reservation).collect();
    use Reservation::{Drop, Hold, Keep};
    // Before a `lwarx` that the core may do itself, it is asked for.
    assert_eq!(seen, [Drop, Keep, Keep, Hold]);
    assert_eq!(bench.count(&Asked::TakeReservation), 2);
}

#[test]
fn the_real_msr_lets_the_host_in_whatever_the_guests_says() {
    for guest in [
        0,
        msr::EE | msr::CE | msr::WE,
        msr::PR | msr::FP | msr::FE0,
        msr::DE,
    ] {
        let mut bench = Bench::new();
        bench.regs.msr = guest;
        bench.turn(CODE, stop(6, 0, MFMSR));
        assert_eq!(bench.enter(&[]), program(MFMSR));
        let turn = bench.turns()[0];
        let real = msr::CE | msr::EE | msr::ME | msr::PR | msr::IS | msr::DS;
        assert_eq!((turn.msr, turn.tid), (real, 0xC3), "{guest:x}");
        assert_eq!(bench.regs.msr, guest);
    }
}

#[test]
fn floating_point_is_lent_when_it_is_used_and_back_when_the_core_is_left() {
    let mut bench = Bench::new();
    // Off: the interrupt is the guest's.
    bench.turn(CODE, stop(7, 0, FADD));
    assert_eq!(bench.enter(&[]), Trap::FpUnavailable);
    assert_eq!(bench.count(&Asked::FpLoad), 0);
    // On: it gets the unit, keeps it over what the core does at once, and has no use of it while it is off.
    bench.regs.msr = msr::FP | msr::FE0 | msr::FE1;
    bench.hw.port.asked.clear();
    bench.turn(CODE, stop(7, 0, FADD));
    bench.turn(CODE, stop(6, 0, MFMSR));
    let off = |regs: &mut Regs| {
        regs.msr = 0;
        stop(6, 0, MFMSR)
    };
    bench.hw.port.acts.push_back(Box::new(off));
    bench.turn(CODE, stop(6, 0, MFMSR));
    bench.enter(&[true, true]);
    let seen: Vec<_> = bench.turns().iter().map(|turn| turn.msr & 0x2900).collect();
    assert_eq!(seen, [0, 0x2900, 0x2900, 0]);
    assert_eq!(
        (bench.count(&Asked::FpLoad), bench.count(&Asked::FpSave)),
        (1, 1)
    );
    assert_eq!(bench.hw.port.asked.last(), Some(&Asked::FpSave));
    assert_eq!(bench.regs.fpscr, 1, "as the core finds it");
}

#[test]
fn the_host_gets_floating_point_and_the_reservation_before_it_is_let_in() {
    let mut bench = Bench::new();
    bench.regs.msr = msr::FP;
    bench.hw.port.reservation = true;
    bench.turn(CODE, stop(7, 0, FADD));
    bench.turn(CODE, stop(4, 0, 0));
    bench.turn(CODE, stop(6, 0, MFMSR));
    bench.enter(&[]);
    let asked = &bench.hw.port.asked;
    let at = |what: Asked| asked.iter().position(|asked| *asked == what);
    let interrupted = at(Asked::Interrupted(4));
    assert!(at(Asked::FpSave) < interrupted && at(Asked::TakeReservation) < interrupted);
    assert_eq!(bench.turns()[2].reservation, Reservation::Hold);
}

#[test]
fn a_word_that_could_not_be_fetched_is_where_the_table_says() {
    let mut bench = Bench::new();
    bench.hw.port.ram[0x10..0x14].copy_from_slice(&MFMSR.to_be_bytes());
    let no_word = Stop {
        word: None,
        ..stop(6, 0, 0)
    };
    bench.turn(CODE + 0x10, no_word);
    assert_eq!(bench.enter(&[]), program(MFMSR));
    // If it is not there either, the instruction comes round again.
    bench.regs.pc = 0x5000;
    bench.turn(0x5000, no_word);
    bench.turn(0x5000, stop(6, 0, MFMSR));
    assert_eq!(bench.enter(&[]), program(MFMSR));
    assert_eq!(bench.hw.counts().no_word, 1);
}

#[test]
fn one_instruction_runs_in_a_page_of_its_own() {
    let mut bench = Bench::new();
    bench.regs.pc = 0x5000_0400;
    bench.turn(
        seat(0) + 4,
        Stop {
            esr: esr::PTR,
            ..stop(6, 0, 0)
        },
    );
    assert_eq!(bench.hw.execute(&mut bench.regs, LWZ), None);
    assert_eq!(bench.regs.pc, 0x5000_0404);
    assert_eq!((bench.hw.retired(), bench.hw.counts().single), (1, 1));
    assert_eq!(bench.hw.port.scratch, [LWZ, 0x7FE0_0008]);
    // Mapped for problem state's fetches alone, and gone before anybody else looks.
    assert_eq!(
        bench.hw.port.asked[0],
        Asked::Write(2, [seat(0) | 0x310, 0x0077_7000, 0x21], 0xC3)
    );
    assert!(matches!(bench.hw.port.asked[1], Asked::Enter(_)));
    assert_eq!(bench.hw.port.asked[2], Asked::Write(2, [0; 3], 0));
    // What it does not complete is the core's, at its own address.
    bench.turn(seat(0), stop(13, DATA + 0x1000, 0));
    let trap = bench.hw.execute(&mut bench.regs, LWZ);
    let (ea, access) = (DATA + 0x1000, Access::Load);
    assert_eq!(
        trap,
        Some(Trap::Data {
            ea,
            access,
            word: LWZ
        })
    );
    assert_eq!((bench.regs.pc, bench.hw.retired()), (0x5000_0404, 1));
}

#[test]
fn one_instruction_goes_elsewhere_if_it_accesses_where_it_was_put() {
    let mut bench = Bench::new();
    bench.hw.map(3, seat(1), &Mapping::page(seat(1), 0x8000));
    let last = seat(0) + 0xFFC;
    bench.turn(seat(0), stop(2, last, 0));
    // One is taken.
    bench.turn(seat(2), stop(13, last, 0));
    let trap = bench.hw.execute(&mut bench.regs, LWZ);
    let access = Access::Load;
    assert_eq!(
        trap,
        Some(Trap::Data {
            ea: last,
            access,
            word: LWZ
        })
    );
    assert!(bench.hw.holds(3, seat(1)));
}

#[test]
fn branches_need_no_page() {
    let table: [(u32, u32, u32, u32); 8] = [
        // The word; pc, LR and CTR behind it, from LR 0x9000 and CTR 2.
        (0x4800_0010, CODE + 0x10, 0x9000, 2),
        (0x4BFF_FFFD, CODE - 4, CODE + 4, 2),
        (0x4800_0012, 0x10, 0x9000, 2),
        (0x4200_0000, CODE, 0x9000, 1),
        (0x4240_0008, CODE + 4, 0x9000, 1),
        (0x4E80_0020, 0x9000, 0x9000, 2),
        (0x4E80_0421, 0, CODE + 4, 2),
        // Taken if CR0[EQ], which is not set.
        (0x4182_0008, CODE + 4, 0x9000, 2),
    ];
    for (word, pc, lr, ctr) in table {
        let mut bench = Bench::new();
        (bench.regs.lr, bench.regs.ctr) = (0x9000, 2);
        assert_eq!(bench.hw.execute(&mut bench.regs, word), None);
        let regs = &bench.regs;
        assert_eq!((regs.pc, regs.lr, regs.ctr), (pc, lr, ctr), "{word:08x}");
        assert_eq!((bench.hw.retired(), bench.turns().len()), (1, 0));
    }
}

#[test]
fn two_spaces_at_once_are_one_instruction_at_a_time() {
    let mut bench = Bench::new();
    bench.hw.port.ram[..4].copy_from_slice(&LWZ.to_be_bytes());
    bench.hw.port.ram[4..8].copy_from_slice(&MFMSR.to_be_bytes());
    bench.hw.select(Mode::new(msr::DS, 0), 3, 4);
    bench.turn(
        seat(0) + 4,
        Stop {
            esr: esr::PTR,
            ..stop(6, 0, 0)
        },
    );
    bench.turn(seat(0), stop(6, 0, LWZ));
    // The word that the switch fetched is one of the data's space.
    assert_eq!(bench.enter(&[]), program(MFMSR));
    assert_eq!(bench.regs.pc, CODE + 4);
    assert!(bench.turns().iter().all(|turn| turn.tid == 0xC4));
    // The host is let in each time, for nothing else might interrupt.
    assert_eq!(bench.count(&Asked::Interrupted(10)), 2);
    // What has no translation is the core's.
    bench.regs.pc = CODE + 0x1000;
    assert_eq!(bench.enter(&[]), Trap::Fetch);
}

#[test]
fn a_budget_of_one_is_one_instruction() {
    let mut bench = Bench::new();
    bench.hw.port.ram[..4].copy_from_slice(&LWZ.to_be_bytes());
    bench.turn(
        seat(0) + 4,
        Stop {
            esr: esr::PTR,
            ..stop(6, 0, 0)
        },
    );
    let trap = bench.hw.enter(&mut bench.regs, 1, &mut bench.core);
    assert_eq!((trap, bench.regs.pc), (Trap::Budget, CODE + 4));
}

#[test]
fn the_instruction_cache_is_emptied_when_a_page_that_it_knows_is_gone() {
    let next = |bench: &mut Bench| {
        bench.hw.port.asked.clear();
        bench.regs.pc = CODE;
        bench.turn(CODE, stop(6, 0, MFMSR));
        bench.enter(&[]);
        bench.count(&Asked::Iccci)
    };
    let mut bench = Bench::new();
    let mut data = Mapping::page(DATA + 0x5000, 0x6000);
    data.execute = false;
    bench.hw.map(3, data.ea, &data);
    bench.hw.unmap(3, data.ea, 0x1000);
    assert_eq!(next(&mut bench), 0, "data");
    bench.hw.unmap(3, CODE, 0x1000);
    assert_eq!([next(&mut bench), next(&mut bench)], [1, 0], "code");
    bench.hw.map(3, CODE, &Mapping::page(CODE, 0));
    bench.hw.clear(3);
    assert_eq!(next(&mut bench), 1, "a space for another context");
    bench.hw.forget_code();
    assert_eq!(next(&mut bench), 1, "the guest's own");
    // A page that others have taken the place of in the TLB is still in the cache.
    bench.hw.map(3, CODE, &Mapping::page(CODE, 0));
    for page in 1..70 {
        data.ea = DATA + 0x1000 * page;
        bench.hw.map(3, data.ea, &data);
    }
    assert!(!bench.hw.holds(3, CODE) && bench.hw.counts().evicted > 0);
    assert_eq!(next(&mut bench), 0);
    bench.hw.unmap(3, CODE, 0x1000);
    assert_eq!(next(&mut bench), 1, "code that was replaced");
}

#[test]
fn pages_that_are_not_cached_are_write_through_so_that_dcbz_traps() {
    let mut bench = Bench::new();
    let mapping = Mapping {
        cached: false,
        execute: false,
        ..Mapping::page(DATA + 0x1000, 0x5000)
    };
    bench.hw.map(3, mapping.ea, &mapping);
    assert_eq!(
        bench.hw.port.asked,
        [Asked::Write(2, [DATA + 0x1310, 0x0010_5000, 0x0819], 0xC3)]
    );
}

#[test]
fn inputs_are_the_hosts() {
    let mut bench = Bench::new();
    bench.hw.port.pins = Pins {
        external: true,
        critical: false,
        kick: true,
    };
    assert_eq!(bench.hw.pins(), bench.hw.port.pins);
}

#[test]
fn windows_that_are_too_small_are_refused() {
    let table = [
        (0, 62, 0xC0, true),
        (20, 27, 1, true),
        (0, 63, 0xE0, true),
        (0, 64, 0xC0, false),
        (20, 26, 1, false),
        (9, 3, 1, false),
        (0, 62, 0, false),
        (0, 62, 0xE1, false),
    ];
    for (first, last, tid, accepted) in table {
        let window = Window { first, last, tid };
        let silicon = Silicon::new(Scripted::new(), window);
        assert_eq!(silicon.is_ok(), accepted, "{window:?}");
        if let Err(refused) = silicon {
            let text = std::format!("{refused}");
            assert!(text.contains("refused: a guest needs 8"), "{text}");
        }
    }
}
