//! Guests that long runs came down to. Seeds would not keep them: a change of the generator makes
//! other guests of the same seeds.

use ppc440_isa::Regs;
use ppc440_isa::regs::{dbcr0, msr};
use ppc440_isa::tlb::{ENTRIES, TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_kvm::{PVR_440EP, Sprs, TimerState};

use super::guest::{Guest, LOADED, Step, Then};
use crate::support::cases::TRAP;
use crate::support::random::NOP;

/// Where they start, and where each interrupt goes: to a loop of one instruction.
const START: u32 = 0x1000;
const HANDLERS: u32 = 0x2000;
const LOOP: u32 = 0x4800_0000;

/// What a mistake was, and the guest that shows it.
pub fn all() -> Vec<(&'static str, Guest)> {
    vec![
        (
            "a debug event that stops the timers counts what passed before it",
            frozen_timers(),
        ),
        (
            "a comparison in the first code that has any is seen by what the interpreter does next",
            compared_first(),
        ),
    ]
}

/// Runs `code` in supervisor state, all memory where it is, for so many instructions; entries are
/// of three.
fn guest(code: &[u32], instructions: u32) -> Guest {
    let mut words = vec![NOP; LOADED as usize / 4];
    words[START as usize / 4..][..code.len()].copy_from_slice(code);
    for n in 0..16 {
        words[(HANDLERS as usize + 16 * n) / 4] = LOOP;
    }
    let mut tlb = [Tlbe::default(); ENTRIES];
    tlb[0] = Tlbe {
        tid: 0,
        word0: TlbWord0::new().with_v(true).with_size(5),
        word1: TlbWord1::new(),
        word2: TlbWord2::from(0x3F),
    };
    Guest {
        words,
        tlb,
        regs: Regs {
            pc: START,
            msr: msr::ME,
            ..Regs::default()
        },
        sprs: Sprs {
            pvr: PVR_440EP,
            ivor: std::array::from_fn(|n| HANDLERS + 16 * n as u32),
            ..Sprs::default()
        },
        timers: TimerState::default(),
        restart: START,
        steps: vec![Step {
            instructions,
            then: Then::Nothing,
        }],
        cuts: vec![3],
    }
}

fn frozen_timers() -> Guest {
    const MTMSR_R3: u32 = 0x7C60_0124;
    let mut guest = guest(&[NOP, NOP, NOP, NOP, NOP, MTMSR_R3, TRAP], 20);
    guest.regs.gpr[3] = msr::ME | msr::DE;
    guest.sprs.dbcr0 = dbcr0::IDM | dbcr0::TRAP | dbcr0::FT;
    guest.timers.dec = 1000;
    guest
}

fn compared_first() -> Guest {
    const FCMPO: u32 = 0xFD0D_A840; // fcmpo cr2,f13,f21
    const FNMSUB: u32 = 0xFE92_D73D; // fnmsub. f20,f18,f28,f26
    let mut guest = guest(&[FCMPO, FNMSUB], 100);
    guest.regs.msr |= msr::FP;
    guest.regs.fpr[18] = 0xFFF1_2B0E_402A_D58A;
    guest.cuts = vec![u32::MAX];
    guest
}
