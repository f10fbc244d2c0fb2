// What problem state does, and what comes back to the core.

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
    assert_eq!(
        m.regs.cr.field(0),
        0,
        "and it is gone after the first store"
    );
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
            assert_eq!(
                (m.regs.msr, m.cpu.retired()),
                (msr::EE, u64::from(pc - 0x1000) / 4 - u64::from(!masked))
            );
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
    let mut m = Machine::new(&[
        bl(12),
        addi(3, 3, 1),
        BCTRL,
        MFLR_R0,
        bl(8),
        SC,
        MTLR_R0,
        BLR,
    ]);
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
