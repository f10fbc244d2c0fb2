
use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, GuestMemory, Pins, Region, memory_file};
use ppc440_isa::{
    Access, Mapping, Mode, NoSupervisor, ProgramCause, Regs, Spaces, Supervisor, TlbWrite, TlbWrites, Trap,
    regs::msr,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

const RAM: u32 = 1 << 20;

const NOP: u32 = 0x6000_0000;
const SC: u32 = 0x4400_0002;
const BLR: u32 = 0x4E80_0020;
const ISYNC: u32 = 0x4C00_012C;
const RFI: u32 = 0x4C00_0064;
const MFLR_R0: u32 = 0x7C08_02A6;
const MTLR_R0: u32 = 0x7C08_03A6;
/// `bctr`
const BCTR: u32 = 0x4E80_0420;
/// `bctrl`
const BCTRL: u32 = 0x4E80_0421;

fn d_form(opcode: u32, rt: u32, ra: u32, d: i16) -> u32 {
    opcode << 26 | rt << 21 | ra << 16 | u32::from(d as u16)
}
fn x_form(rt: u32, ra: u32, rb: u32, xo: u32) -> u32 {
    31 << 26 | rt << 21 | ra << 16 | rb << 11 | xo << 1
}
fn addi(rt: u32, ra: u32, d: i16) -> u32 {
    d_form(14, rt, ra, d)
}
fn lwz(rt: u32, ra: u32, d: i16) -> u32 {
    d_form(32, rt, ra, d)
}
fn stw(rs: u32, ra: u32, d: i16) -> u32 {
    d_form(36, rs, ra, d)
}
/// `b`, relative to itself.
fn b(displacement: i32) -> u32 {
    18 << 26 | displacement as u32 & 0x03FF_FFFC
}
/// `bl`, relative to itself.
fn bl(displacement: i32) -> u32 {
    b(displacement) | 1
}
fn bdnz(displacement: i16) -> u32 {
    16 << 26 | 16 << 21 | u32::from(displacement as u16) & 0xFFFC
}

fn mtctr(rs: u32) -> u32 {
    x_form(rs, 9, 0, 467)
}

struct Machine {
    cpu: Cpu,
    regs: Regs,
    pins: Pins,
    region: Arc<Region>,
}

impl Machine {
    /// A CPU whose pages 0 to 15 are mapped one to one, with `words` at 0x1000.
    fn new(words: &[u32]) -> Self {
        let region = match WINDOWS {
            Some(_) => memory_file(RAM as usize).expect("a memory file"),
            None => Region::new(RAM as usize).expect("anonymous memory"),
        };
        let region = Arc::new(region);
        let pins = Pins::new();
        let cpu = Cpu::new(region.clone(), pins.clone(), Clock::Virtual, 1, ENGINE);
        let mut cpu = cpu.expect("a CPU");
        if let Some(windows) = WINDOWS {
            cpu.set_windows(windows);
        }
        let mut machine = Machine {
            cpu,
            regs: Regs {
                pc: 0x1000,
                ..Regs::default()
            },
            pins,
            region,
        };
        for page in 0..16 {
            machine.map(page << 12, page << 12, true);
        }
        machine.write(0x1000, words);
        machine
    }

    fn map(&mut self, ea: u32, ram: u32, write: bool) {
        let mapping = Mapping {
            ea,
            bytes: 4096,
            ram,
            read: true,
            write,
            execute: true,
            cached: true,
        };
        self.cpu.map(0, ea, &mapping);
    }

    fn write(&mut self, at: u32, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert!(self.cpu.store(at, &bytes));
    }

    fn word(&mut self, at: u32) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.cpu.load(at, &mut bytes));
        u32::from_be_bytes(bytes)
    }

    /// Whether anything made of code was forgotten because it was written over.
    fn forgot_code(&self) -> bool {
        let translated = self.cpu.translator_statistics();
        self.cpu.statistics().invalidated + translated.map_or(0, |code| code.invalidated) != 0
    }

    fn enter(&mut self) -> Trap {
        self.enter_for(1_000_000)
    }

    fn enter_for(&mut self, budget: u32) -> Trap {
        self.cpu.enter(&mut self.regs, budget, &mut NoSupervisor)
    }
}

#[test]
fn a_fault_in_the_middle_of_a_block_leaves_everything_before_it_and_nothing_of_it() {
    // lwzu r5,4(r4) with r4 just below an unmapped page.
    let lwzu = d_form(33, 5, 4, 4);
    let mut m = Machine::new(&[addi(3, 0, 7), lwzu, addi(3, 3, 1), SC]);
    m.regs.gpr[4] = 0xFFFC;
    m.regs.gpr[5] = 99;
    assert_eq!(
        m.enter(),
        Trap::Data {
            ea: 0x1_0000,
            access: Access::Load,
            word: lwzu
        }
    );
    assert_eq!(
        (m.regs.pc, m.regs.gpr[3], m.regs.gpr[4], m.regs.gpr[5]),
        (0x1004, 7, 0xFFFC, 99)
    );
    assert_eq!(m.cpu.retired(), 1);
    m.map(0x1_0000, 0x2000, true);
    m.write(0x2000, &[0x1234_5678]);
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(
        (m.regs.gpr[3], m.regs.gpr[4], m.regs.gpr[5]),
        (8, 0x1_0000, 0x1234_5678)
    );
    assert_eq!(
        (m.regs.pc, m.cpu.retired()),
        (0x1010, 3),
        "sc itself is the core's to count"
    );
}

#[test]
fn a_budget_ends_at_exactly_that_instruction() {
    let mut m = Machine::new(&[addi(3, 3, 1), addi(3, 3, 1), addi(3, 3, 1), b(-12)]);
    for done in 1..20u32 {
        assert_eq!(m.enter_for(1), Trap::Budget);
        assert_eq!(m.regs.pc, 0x1000 + 4 * (done % 4));
        assert_eq!(m.regs.gpr[3], done - done / 4);
    }
    assert_eq!(m.enter_for(1_000), Trap::Budget);
    assert_eq!(m.cpu.retired(), 1_019);
}

#[test]
fn counting_loops_count() {
    let mut m = Machine::new(&[addi(3, 3, 2), bdnz(-4), SC]);
    m.regs.ctr = 1000;
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(
        (m.regs.gpr[3], m.regs.ctr, m.cpu.retired()),
        (2000, 0, 2000)
    );
}

#[test]
fn code_that_the_guest_overwrites_runs_in_its_new_form_even_in_the_same_block() {
    for barrier in [NOP, ISYNC] {
        // The store replaces the instruction two further on.
        let mut m = Machine::new(&[stw(6, 7, 0), barrier, addi(3, 0, 1), SC]);
        m.regs.gpr[7] = 0x1008;
        // Decoded once, as it was.
        m.regs.gpr[6] = addi(3, 0, 1);
        assert_eq!(m.enter(), Trap::Syscall);
        assert_eq!(m.regs.gpr[3], 1);
        m.regs.pc = 0x1000;
        m.regs.gpr[6] = addi(3, 0, 2);
        assert_eq!(m.enter(), Trap::Syscall);
        assert_eq!(m.regs.gpr[3], 2);
        assert_eq!(m.word(0x1008), addi(3, 0, 2));
    }
}

#[test]
fn accesses_with_a_common_look_up_do_not_mind_what_is_accessed_between_them() {
    // A load, which makes r5's page known; then three, and between them one from each of five pages
    // that are not known yet.
    let mut words = vec![lwz(8, 5, 0), b(4), lwz(8, 5, 0)];
    words.extend((20..25).map(|base| lwz(26, base, 0)));
    words.extend([lwz(9, 5, 4), lwz(10, 5, 8), SC]);
    let mut m = Machine::new(&words);
    m.write(0x3000, &[1, 2, 3]);
    m.regs.gpr[5] = 0x3000;
    for n in 0..5 {
        m.regs.gpr[20 + n as usize] = 0x4000 + (n << 12);
    }
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(m.regs.gpr[8..=10], [1, 2, 3]);
}

#[test]
fn stores_are_seen_in_a_page_that_was_data_before_it_was_code() {
    // r6 to where r7 says, again and again, and then there.
    let mut m = Machine::new(&[stw(6, 7, 0), bdnz(-4), mtctr(7), BCTR]);
    m.write(0x2004, &[SC]);
    for (n, code) in (0..).zip([addi(3, 0, 1), addi(3, 0, 2), NOP]) {
        (m.regs.pc, m.regs.ctr) = (0x1000, 100);
        (m.regs.gpr[6], m.regs.gpr[7]) = (code, 0x2000);
        assert_eq!(m.enter(), Trap::Syscall);
        assert_eq!((m.regs.pc, m.regs.gpr[3]), (0x2008, 2.min(n + 1)), "{n}");
        assert_eq!(m.word(0x2000), code);
    }
    assert!(m.forgot_code());
}

#[test]
fn code_that_a_device_overwrites_runs_in_its_new_form() {
    let mut m = Machine::new(&[addi(3, 0, 1), SC]);
    assert_eq!(m.enter(), Trap::Syscall);
    let region = GuestRegionMmap::with_arc(m.region.clone(), GuestAddress(0)).expect("fits");
    let memory = GuestMemory::from_regions(vec![region]).expect("one region");
    memory
        .write_slice(&addi(3, 0, 5).to_be_bytes(), GuestAddress(0x1000))
        .expect("inside RAM");
    assert!(!m.forgot_code());
    m.regs.pc = 0x1000;
    // The write asked for attention; entering again sees the new code.
    assert_eq!(m.enter(), Trap::Attention);
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(m.regs.gpr[3], 5);
    assert!(m.forgot_code());
}

#[test]
fn blocks_belong_to_ram_and_not_to_addresses() {
    let mut m = Machine::new(&[addi(3, 0, 1), SC]);
    m.write(0x2000, &[addi(3, 0, 2), SC]);
    m.map(0x8000, 0x1000, true);
    m.regs.pc = 0x8000;
    assert_eq!((m.enter(), m.regs.gpr[3]), (Trap::Syscall, 1));
    m.cpu.unmap(0, 0x8000, 4096);
    m.regs.pc = 0x8000;
    assert_eq!(m.enter(), Trap::Fetch);
    m.map(0x8000, 0x2000, true);
    assert_eq!((m.enter(), m.regs.gpr[3]), (Trap::Syscall, 2));
    assert!(!m.forgot_code());
}

#[test]
fn a_block_that_runs_off_its_page_goes_on_in_the_next() {
    let mut m = Machine::new(&[]);
    m.write(0x1FFC, &[addi(3, 3, 1), addi(3, 3, 1), SC]);
    m.regs.pc = 0x1FFC;
    assert_eq!((m.enter(), m.regs.gpr[3]), (Trap::Syscall, 2));
    m.cpu.unmap(0, 0x2000, 4096);
    m.regs.pc = 0x1FFC;
    assert_eq!(
        (m.enter(), m.regs.pc, m.regs.gpr[3]),
        (Trap::Fetch, 0x2000, 3)
    );
}

#[test]
fn accesses_that_cross_a_page_and_stores_that_may_not_are_left_to_the_core() {
    let cases = [
        (lwz(3, 4, 0), 0x2FFE, Access::Load),
        (stw(3, 4, 0), 0x2FFD, Access::Store),
        (d_form(46, 28, 4, 0), 0x2FF4, Access::Load),
        (d_form(47, 28, 4, 0), 0x2FF4, Access::Store),
        (x_form(5, 4, 16, 597), 0x2FF1, Access::Load),
        (x_form(3, 4, 16, 725), 0x2FF1, Access::Store),
        (x_form(3, 0, 4, 20), 0x2FFE, Access::Load),
        (x_form(3, 0, 4, 150) | 1, 0x2FFD, Access::Store),
        (x_form(3, 0, 4, 150) | 1, 0x5004, Access::Store),
        (d_form(50, 3, 4, 0), 0x2002, Access::Load),
        (d_form(54, 3, 4, 0), 0x200C, Access::Store),
        (stw(3, 4, 0), 0x5000, Access::Store),
        (x_form(0, 0, 4, 1014), 0x5010, Access::Store),
    ];
    for (word, ea, access) in cases {
        let mut m = Machine::new(&[word]);
        m.map(0x5000, 0x5000, false);
        m.regs.gpr[4] = ea;
        m.regs.msr = msr::FP;
        let before = m.regs;
        assert_eq!(m.enter(), Trap::Data { ea, access, word }, "{word:08x}");
        assert_eq!(m.regs, before, "{word:08x}");
    }
}

/// Loads r3 from `ea`, or has the core do so.
fn load_far(m: &mut Machine, ea: u32) -> Option<u32> {
    (m.regs.pc, m.regs.gpr[4]) = (0x1000, ea);
    match m.enter() {
        Trap::Syscall => Some(m.regs.gpr[3]),
        trap => {
            let (word, access) = (lwz(3, 4, 0), Access::Load);
            assert_eq!(trap, Trap::Data { ea, access, word });
            None
        }
    }
}

#[test]
fn loads_from_a_large_page_find_it_wherever_it_is_and_only_there() {
    let large = |ea, read| Mapping {
        ea,
        bytes: RAM,
        ram: 0,
        read,
        write: true,
        execute: false,
        cached: true,
    };
    let (high, higher) = (0xC000_0000, 0xD000_0000);
    let alone = vec![lwz(3, 4, 0), SC];
    let sharing = vec![lwz(3, 4, 0), lwz(5, 4, 4), lwz(6, 4, 8), SC];
    for code in [alone, sharing] {
        let mut m = Machine::new(&code);
        m.write(0x6000, &[7]);
        m.write(0x6FFC, &[0x0011_2233, 0x4455_6677]);
        m.cpu.map(0, high, &large(high, true));
        assert_eq!(load_far(&mut m, high + 0x6000), Some(7));
        assert_eq!(load_far(&mut m, high + 0x6FFE), Some(0x2233_4455));
        assert_eq!(load_far(&mut m, high + RAM - 4), None, "the last bytes");
        assert_eq!(load_far(&mut m, high - 2), None);
        // A program's is elsewhere, or it has none.
        m.cpu.map(1, higher, &large(higher, true));
        m.regs.msr = msr::PR;
        for (space, seen) in [(1, Some(7)), (2, None)] {
            m.cpu.select(Mode::new(m.regs.msr, 0), 0, space);
            assert_eq!(load_far(&mut m, high + 0x6000), None);
            assert_eq!(load_far(&mut m, higher + 0x6000), seen);
        }
        // The supervisor's moves, as often as it likes.
        m.regs.msr = 0;
        for n in 0..40u32 {
            let (space, here, there) = match n % 2 {
                0 => (1, higher, high),
                _ => (0, high, higher),
            };
            m.cpu.select(Mode::new(m.regs.msr, 0), 0, space);
            assert_eq!(load_far(&mut m, here + 0x6000), Some(7), "{n}");
            assert_eq!(load_far(&mut m, there + 0x6000), None, "{n}");
        }
        m.cpu.select(Mode::new(0, 0), 0, 0);
        m.cpu.unmap(0, high, RAM);
        assert_eq!(load_far(&mut m, high + 0x6000), None);
        m.cpu.map(0, high, &large(high, false));
        assert_eq!(load_far(&mut m, high + 0x6000), None, "stores only");
    }
}

#[test]
fn a_conditional_store_needs_a_reservation_but_no_particular_one() {
    let (lwarx, stwcx) = (x_form(5, 0, 4, 20), x_form(6, 0, 7, 150) | 1);
    let mut m = Machine::new(&[lwarx, stwcx, stwcx, SC]);
    (m.regs.gpr[4], m.regs.gpr[6], m.regs.gpr[7]) = (0x2000, 77, 0x3000);
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(
        m.word(0x3000),
        77,
        "the reservation is one bit, without an address"
    );
    assert_eq!(m.regs.cr.field(0), 0, "and it is gone after the first store");
}

#[test]
fn privileged_and_unknown_instructions_trap_with_their_word() {
    let mfmsr = x_form(3, 0, 0, 83);
    let cases = [
        (mfmsr, ProgramCause::Privileged),
        (x_form(3, 12, 8, 371), ProgramCause::Privileged),
        (0, ProgramCause::Illegal),
        (d_form(33, 3, 3, 4), ProgramCause::Illegal),
        (x_form(31, 0, 0, 4), ProgramCause::Trap),
    ];
    for (word, cause) in cases {
        let mut m = Machine::new(&[NOP, word]);
        m.regs.msr = msr::PR;
        assert_eq!(m.enter(), Trap::Program { cause, word });
        assert_eq!((m.regs.pc, m.cpu.retired()), (0x1004, 1));
    }
}

#[test]
fn an_inexact_result_that_was_forgotten_stays_forgotten() {
    let a_form = |frt: u32, fra: u32, frb: u32, frc: u32, xo: u32| {
        63 << 26 | frt << 21 | fra << 16 | frb << 11 | frc << 6 | xo << 1
    };
    let mtfsb0 = |bit: u32| 63 << 26 | bit << 21 | 70 << 1;
    let mffs = |frt: u32| 63 << 26 | frt << 21 | 583 << 1;
    // fmul f1,f2,f3 underflows and is inexact; FX, UX and XX are cleared; fadd f4,f5,f5 is exact.
    let words = [
        a_form(1, 2, 0, 3, 25),
        mffs(6),
        mtfsb0(0),
        mtfsb0(4),
        mtfsb0(6),
        a_form(4, 5, 5, 0, 21),
        mffs(7),
        // An inexact one, and one that is compared after it: f5 + f3 = f5, greater than f3.
        a_form(4, 5, 3, 0, 21),
        63 << 26 | 5 << 16 | 3 << 11,
        mffs(8),
        SC,
    ];
    let mut m = Machine::new(&words);
    m.regs.msr = msr::FP;
    m.regs.fpr[2] = 0x0010_0000_0000_0001;
    m.regs.fpr[3] = 0x3C00_0000_0000_0001;
    m.regs.fpr[5] = 0x3FF0_0000_0000_0000;
    assert_eq!(m.enter(), Trap::Syscall);
    let status = [6, 7, 8].map(|n| m.regs.fpr[n] as u32);
    // FX, UX, XX, FI, a zero; then a normal number and nothing else; then FX, XX, FI, greater.
    assert_eq!(status, [0x8A02_2000, 0x0000_4000, 0x8202_4000]);
}

#[test]
fn floating_point_waits_for_msr_fp() {
    let lfd = d_form(50, 1, 4, 0);
    let mut m = Machine::new(&[lfd, SC]);
    m.regs.gpr[4] = 0x2000;
    m.write(0x2000, &[0x3FF8_0000, 0]);
    assert_eq!((m.enter(), m.regs.pc), (Trap::FpUnavailable, 0x1000));
    m.regs.msr |= msr::FP;
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(f64::from_bits(m.regs.fpr[1]), 1.5);
}

#[test]
fn an_input_change_stops_at_a_block_boundary() {
    let mut m = Machine::new(&[b(0)]);
    m.pins.set_external(true);
    assert_eq!((m.enter(), m.cpu.retired()), (Trap::Attention, 0));
    assert_eq!(m.enter_for(100), Trap::Budget);
    let pins = m.pins.clone();
    let other = std::thread::spawn(move || pins.kick());
    while m.enter() != Trap::Attention {}
    other.join().expect("the kick is given");
    assert!(m.pins.take_kick());
}

#[test]
fn an_interrupt_that_waits_for_msr_ee_stops_behind_the_instruction_that_sets_it() {
    let wrteei = x_form(0, 0, 16, 163);
    let wrtee = x_form(6, 0, 0, 131);
    for word in [wrteei, wrtee] {
        for masked in [true, false] {
            let mut m = Machine::new(&[NOP, word, addi(3, 0, 1), SC]);
            m.regs.gpr[6] = msr::EE;
            m.regs.masked = masked;
            let (trap, pc) = match masked {
                true => (Trap::Attention, 0x1008),
                false => (Trap::Syscall, 0x1010),
            };
            assert_eq!((m.enter(), m.regs.pc), (trap, pc), "{word:08x}");
            assert_eq!((m.regs.msr, m.cpu.retired()), (msr::EE, u64::from(pc - 0x1000) / 4 - u64::from(!masked)));
        }
    }
}

#[test]
fn execute_runs_one_word_that_is_not_in_memory() {
    let mut m = Machine::new(&[]);
    assert_eq!(m.cpu.execute(&mut m.regs, addi(3, 0, 9)), None);
    assert_eq!((m.regs.gpr[3], m.regs.pc), (9, 0x1004));
    assert_eq!(m.cpu.execute(&mut m.regs, b(-8) | 1), None);
    assert_eq!((m.regs.lr, m.regs.pc), (0x1008, 0xFFC));
    assert_eq!(m.cpu.execute(&mut m.regs, BLR), None);
    assert_eq!(m.regs.pc, 0x1008);
    let word = lwz(3, 0, -4);
    let trap = Trap::Data {
        ea: 0xFFFF_FFFC,
        access: Access::Load,
        word,
    };
    assert_eq!(m.cpu.execute(&mut m.regs, word), Some(trap));
    assert_eq!((m.regs.pc, m.cpu.retired()), (0x1008, 3));
    assert_eq!(m.cpu.execute(&mut m.regs, SC), Some(Trap::Syscall));
    assert_eq!((m.regs.pc, m.cpu.retired()), (0x100C, 3));
}

#[test]
fn execute_forgets_the_code_that_it_writes_over() {
    let mut m = Machine::new(&[addi(3, 0, 1), SC]);
    assert_eq!((m.enter(), m.regs.gpr[3]), (Trap::Syscall, 1));
    m.regs.pc = 0x2000;
    (m.regs.gpr[6], m.regs.gpr[7]) = (addi(3, 0, 2), 0x1000);
    assert_eq!(m.cpu.execute(&mut m.regs, stw(6, 7, 0)), None);
    assert_eq!(m.regs.pc, 0x2004);
    assert!(m.forgot_code());
    m.regs.pc = 0x1000;
    assert_eq!((m.enter(), m.regs.gpr[3]), (Trap::Syscall, 2));
}

#[test]
fn what_is_outside_ram_is_neither_read_nor_written() {
    let mut m = Machine::new(&[]);
    let mut bytes = [7; 8];
    for ram in [RAM, RAM - 4, u32::MAX] {
        assert!(!m.cpu.load(ram, &mut bytes));
        assert!(!m.cpu.store(ram, &bytes));
    }
    assert_eq!((bytes, m.word(RAM - 4)), ([7; 8], 0));
}

#[test]
fn the_virtual_time_base_counts_completed_instructions() {
    let mut m = Machine::new(&[NOP, NOP, SC]);
    m.enter();
    assert_eq!(m.cpu.time_base(), 2);
    assert_eq!(m.cpu.budget(Some(50)), 48);
    m.cpu.skip_to(50);
    m.cpu.retire();
    assert_eq!((m.cpu.time_base(), m.cpu.retired()), (51, 3));
    assert_eq!(m.cpu.until(1_000), None, "it does not pass by itself");
}

#[test]
fn the_hosts_time_base_passes_by_itself() {
    let region = Arc::new(Region::new(RAM as usize).expect("anonymous memory"));
    let cpu = Cpu::new(region, Pins::new(), Clock::Host, 3, ENGINE).expect("a CPU");
    let before = cpu.stopwatch();
    let wait = cpu.until(cpu.time_base() + 1_000_000);
    assert!(wait.is_some_and(|time| !time.is_zero()));
    assert!(cpu.stopwatch() >= before);
    assert_eq!(cpu.engine(), ENGINE);
}

#[test]
fn calls_return_however_deep_they_are() {
    const DEPTH: u32 = 5000;
    let mut m = Machine::new(&[
        bl(8),
        SC,
        // Calls itself r3 times.
        addi(5, 5, 1),
        0x2C03_0000, // cmpwi r3,0
        0x4D82_0020, // beqlr
        addi(3, 3, -1),
        MFLR_R0,
        d_form(37, 0, 1, -4), // stwu r0,-4(r1)
        bl(-24),
        lwz(0, 1, 0),
        addi(1, 1, 4),
        MTLR_R0,
        addi(6, 6, 1),
        BLR,
    ]);
    (m.regs.gpr[1], m.regs.gpr[3]) = (0xF000, DEPTH);
    assert_eq!((m.enter(), m.regs.pc), (Trap::Syscall, 0x1008));
    assert_eq!(m.regs.gpr[5..7], [DEPTH + 1, DEPTH]);
    assert_eq!((m.regs.gpr[1], m.regs.lr), (0xF000, 0x1004));
}

#[test]
fn calls_that_nobody_returns_from_do_no_harm() {
    let mut m = Machine::new(&[bl(4), bdnz(-4), SC]);
    m.regs.ctr = 400_000;
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!((m.cpu.retired(), m.regs.lr), (800_000, 0x1004));
}

#[test]
fn a_return_goes_where_lr_says_and_not_where_the_call_was() {
    // The first function calls the second, which returns to where the first was called from.
    let mut m = Machine::new(&[bl(12), addi(3, 3, 1), BCTRL, MFLR_R0, bl(8), SC, MTLR_R0, BLR]);
    // What is called through CTR there returns once to behind the first call, and then to nobody's.
    m.write(0x2000, &[addi(4, 4, 1), MTLR_R0, addi(0, 0, 0x2010), BLR]);
    m.write(0x2010, &[SC]);
    m.regs.ctr = 0x2000;
    assert_eq!((m.enter(), m.regs.pc), (Trap::Syscall, 0x2014));
    assert_eq!(m.regs.gpr[3..5], [2, 2]);
}

#[test]
fn a_call_returns_to_what_is_behind_it_by_then() {
    // The callee writes `addi r3,r3,7` over what is behind the call, in the place of 1.
    let mut m = Machine::new(&[bl(12), addi(3, 3, 1), SC, stw(5, 6, 0), BLR]);
    (m.regs.gpr[5], m.regs.gpr[6]) = (addi(3, 3, 7), 0x1004);
    for round in 1..4 {
        m.regs.pc = 0x1000;
        assert_eq!(m.enter(), Trap::Syscall);
        assert_eq!(m.regs.gpr[3], 7 * round);
    }
    // The callee calls the core, which gives the page of the call another place in RAM.
    let mut m = Machine::new(&[b(0x1000)]);
    m.write(0x2000, &[addi(3, 3, 1), SC, BLR]);
    m.write(0x3000, &[bl(-0x1000), addi(3, 3, 10), SC]);
    m.write(0x4000, &[NOP, addi(3, 3, 100), SC]);
    m.regs.pc = 0x3000;
    assert_eq!((m.enter(), m.regs.pc), (Trap::Syscall, 0x2008));
    m.cpu.unmap(0, 0x3000, 0x1000);
    m.map(0x3000, 0x4000, true);
    assert_eq!((m.enter(), m.regs.pc), (Trap::Syscall, 0x300C));
    assert_eq!(m.regs.gpr[3], 101);
}

/// Mode of the supervisor, and of a user with the PID 5: spaces 0 and 1. The page at 0x2000 is the
/// supervisor's, that at 0x1000 has other code for the user, at 0x5000 of RAM.
fn two_modes(words: &[u32]) -> Machine {
    let mut m = Machine::new(words);
    for ea in [0x1000, 0x3000] {
        let mapping = Mapping {
            ea,
            bytes: 4096,
            ram: ea + 0x4000,
            read: true,
            write: true,
            execute: true,
            cached: true,
        };
        m.cpu.map(1, ea, &mapping);
    }
    m.cpu.select(Mode::new(msr::PR, 5), 1, 1);
    m.cpu.select(Mode::new(0, 5), 0, 0);
    m.regs.pid = 5;
    m
}

#[test]
fn a_system_call_and_its_return_need_no_core_once_both_modes_are_known() {
    let mut m = two_modes(&[RFI]);
    // The same address is another page for the user.
    m.write(0x5000, &[lwz(4, 0, 0x3000), SC, addi(3, 3, 1), SC]);
    m.write(0x7000, &[0x77]);
    m.write(0x3000, &[0x33]);
    m.write(0x2C00, &[lwz(5, 0, 0x3000), addi(6, 6, 1), RFI]);
    (m.regs.srr0, m.regs.srr1) = (0x1000, msr::PR | msr::EE | msr::ME);
    m.regs.msr = msr::ME;
    m.regs.system_call = 0x2C00;
    // To the user, the call, and back again.
    assert_eq!(m.enter_for(6), Trap::Budget);
    assert_eq!((m.regs.pc, m.cpu.retired()), (0x1008, 6));
    // The second call finds no vector.
    m.regs.system_call = 0;
    assert_eq!(m.enter(), Trap::Syscall);
    assert_eq!(m.regs.pc, 0x1010);
    assert_eq!((m.regs.srr0, m.regs.srr1), (0x1008, msr::PR | msr::EE | msr::ME));
    assert_eq!(m.regs.gpr[3..7], [1, 0x77, 0x33, 1]);
    assert_eq!(m.regs.system_calls, 1);
    assert_eq!(m.regs.msr, msr::PR | msr::EE | msr::ME);
}

#[test]
fn a_mode_that_was_not_selected_or_has_lost_its_space_is_the_cores() {
    let mtpid = 31 << 26 | 3 << 21 | 16 << 16 | 1 << 11 | 467 << 1;
    let privileged = |word| Trap::Program {
        cause: ProgramCause::Privileged,
        word,
    };
    for cleared in [false, true] {
        let mut m = two_modes(&[mtpid, addi(4, 0, 1), RFI]);
        m.regs.gpr[3] = 6;
        assert_eq!((m.enter(), m.regs.pid), (privileged(mtpid), 5));
        m.cpu.select(Mode::new(0, 6), 0, 0);
        m.regs.srr1 = msr::PR;
        assert_eq!(m.enter(), privileged(RFI));
        assert_eq!((m.regs.pid, m.regs.gpr[4], m.regs.pc), (6, 1, 0x1008));
        m.cpu.select(Mode::new(msr::PR, 6), 1, 1);
        m.cpu.select(Mode::new(0, 6), 0, 0);
        if cleared {
            m.cpu.clear(1);
            assert_eq!((m.enter(), m.regs.msr), (privileged(RFI), 0));
        } else {
            assert_eq!((m.enter(), m.regs.msr), (Trap::Fetch, msr::PR));
        }
    }
}

#[test]
fn writes_to_the_tlb_wait_for_the_next_synchronising_instruction() {
    // tlbwe r3,r4,ws
    let tlbwe = |ws: u32| x_form(3, 4, ws, 978);
    let words: Vec<u32> = [0, 1, 2].map(tlbwe).into_iter().chain([ISYNC, SC]).collect();
    let mut m = two_modes(&words);
    (m.regs.gpr[3], m.regs.gpr[4], m.regs.mmucr) = (0x1234_5678, 0x1_0043, 0xAB);
    assert_eq!((m.enter(), m.regs.pc), (Trap::Attention, 0x1010));
    assert_eq!(m.cpu.retired(), 4);
    let written: Vec<_> = m.regs.tlb_writes.take().collect();
    let expected = [0, 1, 2].map(|word| TlbWrite {
        value: 0x1234_5678,
        index: 3,
        word,
        tid: 0xAB,
    });
    assert_eq!(written, expected);
    m.regs.system_call = 0x2000;
    m.write(0x2000, &[tlbwe(1), RFI]);
    // A return waits for the core, which a call does too.
    let trap = m.enter();
    assert!(matches!(trap, Trap::Program { word: RFI, .. }), "{trap:?}");
    assert_eq!(m.regs.tlb_writes.count, 1);
    m.regs.pc = 0x1010;
    assert_eq!((m.enter(), m.regs.pc), (Trap::Syscall, 0x1014));
    // There is room for so many, and the core does the next.
    m.regs.tlb_writes = TlbWrites::default();
    m.write(0x3000, &[tlbwe(2); 20]);
    m.regs.pc = 0x3000;
    assert!(matches!(m.enter(), Trap::Program { .. }));
    assert_eq!(m.regs.tlb_writes.count as usize, TlbWrites::MOST);
    assert_eq!(m.regs.pc, 0x3000 + 4 * TlbWrites::MOST as u32);
    // In problem state it is a trap as ever.
    m.regs.tlb_writes = TlbWrites::default();
    m.regs.msr = msr::PR;
    assert!(matches!(m.enter(), Trap::Program { .. }));
    assert!(m.regs.tlb_writes.is_empty());
}

/// Records what it is asked, and does with it what a function says.
struct Asked<F> {
    traps: Vec<(Trap, u32, u64)>,
    deal: F,
}

impl<F: FnMut(&mut dyn Spaces, &mut Regs, Trap) -> bool> Supervisor for Asked<F> {
    fn trap(&mut self, spaces: &mut dyn Spaces, regs: &mut Regs, trap: Trap) -> bool {
        self.traps.push((trap, regs.pc, spaces.retired()));
        (self.deal)(spaces, regs, trap)
    }
}

impl Machine {
    /// Enters with a supervisor; gives the last trap, and those that it was asked about: each with
    /// `pc` and the instructions before it.
    fn ask(
        &mut self,
        budget: u32,
        deal: impl FnMut(&mut dyn Spaces, &mut Regs, Trap) -> bool,
    ) -> (Trap, Vec<(Trap, u32, u64)>) {
        let mut asked = Asked {
            traps: Vec::new(),
            deal,
        };
        let trap = self.cpu.enter(&mut self.regs, budget, &mut asked);
        (trap, asked.traps)
    }
}

/// Page `ea` of RAM at an effective address, with all allowed.
fn page(ea: u32, ram: u32) -> Mapping {
    Mapping {
        ea,
        bytes: 4096,
        ram,
        read: true,
        write: true,
        execute: true,
        cached: true,
    }
}

#[test]
fn a_page_that_the_supervisor_adds_lets_the_access_go_on_where_it_is() {
    // A load and a store to pages that are not there, in the middle of a loop.
    let words = [
        addi(3, 3, 1),
        lwz(5, 4, 0),
        addi(6, 5, 1),
        stw(6, 7, 0),
        bdnz(-16),
        SC,
    ];
    let mut m = Machine::new(&words);
    m.write(0x2000, &[41]);
    (m.regs.gpr[4], m.regs.gpr[7], m.regs.ctr) = (0x2_0000, 0x3_0008, 100);
    let (trap, asked) = m.ask(1_000_000, |spaces, _, trap| {
        let Trap::Data { ea, .. } = trap else {
            return false;
        };
        spaces.map(0, ea, &page(ea & !0xFFF, ea >> 4 & 0xF000));
        true
    });
    assert_eq!(trap, Trap::Syscall);
    let expected = [
        (0x2_0000, Access::Load, words[1], 0x1004, 1),
        (0x3_0008, Access::Store, words[3], 0x100C, 3),
    ]
    .map(|(ea, access, word, pc, before)| (Trap::Data { ea, access, word }, pc, before));
    assert_eq!(asked[..2], expected);
    assert_eq!(asked[2..], [(Trap::Syscall, 0x1018, 500)]);
    assert_eq!((m.regs.gpr[3], m.regs.gpr[6], m.word(0x3008)), (100, 42, 42));
    assert_eq!((m.regs.pc, m.cpu.retired()), (0x1018, 500));
}

#[test]
fn a_large_page_that_the_supervisor_adds_serves_what_follows() {
    // The block goes on with loads that look in the pinned range first, once there is one.
    let words = [lwz(5, 4, 0), lwz(6, 4, 0x7FF0), stw(6, 4, 0x7FF4), bdnz(-12), SC];
    let mut m = Machine::new(&words);
    m.write(0x2000, &[7]);
    m.write(0x9FF0, &[8]);
    (m.regs.gpr[4], m.regs.ctr) = (0xC000_2000, 100);
    for lap in 0..2 {
        m.regs.pc = 0x1000;
        let (trap, asked) = m.ask(1_000_000, |spaces, _, trap| {
            let Trap::Data { ea, .. } = trap else {
                return false;
            };
            let large = Mapping {
                bytes: RAM,
                ..page(0xC000_0000, 0)
            };
            spaces.map(0, ea, &large);
            true
        });
        assert_eq!(trap, Trap::Syscall);
        assert_eq!((asked.len(), m.word(0x9FF4)), (2 - lap, 8));
        assert_eq!(m.regs.gpr[5..7], [7, 8]);
        m.regs.ctr = 100;
    }
}

#[test]
fn a_trap_that_the_supervisor_leaves_comes_back_as_if_it_had_not_been_asked() {
    let mtdcr = 31 << 26 | 3 << 21 | 451 << 1;
    let tw = x_form(31, 0, 0, 4);
    let program = |cause, word| Trap::Program { cause, word };
    for (word, at, expected) in [
        (mtdcr, 0x1004, program(ProgramCause::Privileged, mtdcr)),
        (tw, 0x1004, program(ProgramCause::Trap, tw)),
        (0, 0x1004, program(ProgramCause::Illegal, 0)),
        (0xFC22_182A, 0x1004, Trap::FpUnavailable),
        (SC, 0x1008, Trap::Syscall),
        (b(0x2_0000), 0x2_1004, Trap::Fetch),
    ] {
        let mut m = Machine::new(&[addi(3, 3, 1), word, addi(3, 3, 1)]);
        let (trap, asked) = m.ask(1_000_000, |_, _, _| false);
        assert_eq!(trap, expected, "{word:08x}");
        let before = if trap == Trap::Fetch { 2 } else { 1 };
        assert_eq!(asked, [(expected, at, before)], "{word:08x}");
        let after = (m.regs.pc, m.cpu.retired(), m.regs.gpr[3]);
        assert_eq!(after, (at, before, 1), "{word:08x}");
    }
}

#[test]
fn what_the_supervisor_completes_is_part_of_the_budget() {
    // tlbsx r5,0,r4
    let tlbsx = x_form(5, 0, 4, 914);
    for budget in 1..12 {
        let mut m = Machine::new(&[addi(3, 3, 1), tlbsx, addi(6, 5, 1), b(-12)]);
        let (trap, asked) = m.ask(budget, |spaces, regs, _| {
            regs.gpr[5] += 7;
            regs.pc += 4;
            spaces.retire();
            true
        });
        assert_eq!((trap, m.cpu.retired()), (Trap::Budget, budget.into()));
        assert_eq!(m.regs.pc, 0x1000 + 4 * (budget % 4));
        assert_eq!(m.regs.gpr[5], 7 * ((budget + 2) / 4));
        let counts: Vec<_> = asked.iter().map(|(_, pc, before)| (*pc, *before)).collect();
        let expected: Vec<_> = (0..asked.len() as u64).map(|n| (0x1004, 4 * n + 1)).collect();
        assert_eq!(counts, expected);
    }
}

#[test]
fn an_interrupt_that_the_supervisor_takes_goes_on_in_its_mode() {
    // The user misses; the handler, the supervisor's, returns, and the user finds the page.
    for fetch in [false, true] {
        let mut m = two_modes(&[RFI]);
        let access = if fetch { b(0x2_0000) } else { lwz(5, 4, 0) };
        m.write(0x5000, &[bl(8), SC, access, BLR]);
        m.write(0x2000, &[addi(6, 6, 1), RFI]);
        m.write(0x6000, &[0x55, BLR, BLR]);
        m.regs.gpr[4] = 0x2_1000;
        (m.regs.srr0, m.regs.srr1) = (0x1000, msr::PR);
        let mut misses = 0;
        let (trap, asked) = m.ask(1_000_000, |spaces, regs, trap| {
            let ea = match trap {
                Trap::Data { ea, .. } => ea,
                Trap::Fetch => regs.pc,
                _ => return false,
            };
            misses += 1;
            if misses == 1 {
                regs.interrupt(regs.pc, 0x2000);
                spaces.select(Mode::new(regs.msr, regs.pid), 0, 0);
            } else {
                spaces.map(1, ea, &page(ea & !0xFFF, 0x6000));
            }
            true
        });
        assert_eq!(trap, Trap::Syscall);
        assert_eq!((asked.len(), m.regs.gpr[6]), (3, 1), "{asked:x?}");
        assert_eq!(asked[1].2, asked[0].2 + 2);
        assert_eq!((m.regs.pc, m.regs.msr), (0x1008, msr::PR));
        assert!(fetch || m.regs.gpr[5] == 0x55);
    }
}

#[test]
fn a_fetch_that_may_not_happen_yet_is_nothing_to_ask_about() {
    // An indirect branch to a page that is not there, as the last instruction.
    let mut m = Machine::new(&[addi(3, 3, 1), BLR]);
    m.regs.lr = 0x2_0000;
    let (trap, asked) = m.ask(2, |_, _, _| false);
    assert_eq!((trap, m.regs.pc, asked.len()), (Trap::Budget, 0x2_0000, 0));
    let (trap, asked) = m.ask(1, |_, _, _| false);
    assert_eq!((trap, asked), (Trap::Fetch, vec![(Trap::Fetch, 0x2_0000, 2)]));
}

#[test]
fn a_page_that_the_supervisor_removes_is_gone_at_once() {
    // Three loads with a base in common, of which the translator looks the page up once; the one
    // between them misses, and the supervisor takes that page away.
    let words = [lwz(5, 4, 0), lwz(6, 4, 4), lwz(8, 7, 0), lwz(9, 4, 8), SC];
    let mut m = Machine::new(&words);
    (m.regs.gpr[4], m.regs.gpr[7]) = (0x3000, 0x2_0000);
    let (trap, _) = m.ask(1_000_000, |spaces, _, trap| match trap {
        Trap::Data { ea: 0x2_0000, .. } => {
            spaces.map(0, 0x2_0000, &page(0x2_0000, 0x4000));
            spaces.unmap(0, 0x3000, 0x1000);
            true
        }
        _ => false,
    });
    let missing = Trap::Data {
        ea: 0x3008,
        access: Access::Load,
        word: words[3],
    };
    assert_eq!((trap, m.regs.pc, m.cpu.retired()), (missing, 0x100C, 3));
}
