// What the guest's supervisor does without the core, and what the core is asked about meanwhile.

/// Mode of the supervisor, and of a user with the PID 5: spaces 0 and 1. The page at 0x2000 is the
/// supervisor's, that at 0x1000 has other code for the user, at 0x5000 of RAM.
fn two_modes(words: &[u32]) -> Machine {
    let mut m = Machine::new(words);
    for ea in [0x1000, 0x3000] {
        m.cpu.map(1, ea, &Mapping::page(ea, ea + 0x4000));
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
    assert_eq!(
        (m.regs.srr0, m.regs.srr1),
        (0x1008, msr::PR | msr::EE | msr::ME)
    );
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
    let words: Vec<u32> = [0, 1, 2]
        .map(tlbwe)
        .into_iter()
        .chain([ISYNC, SC])
        .collect();
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
        spaces.map(0, ea, &Mapping::page(ea & !0xFFF, ea >> 4 & 0xF000));
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
    assert_eq!(
        (m.regs.gpr[3], m.regs.gpr[6], m.word(0x3008)),
        (100, 42, 42)
    );
    assert_eq!((m.regs.pc, m.cpu.retired()), (0x1018, 500));
}

#[test]
fn a_large_page_that_the_supervisor_adds_serves_what_follows() {
    // The block goes on with loads that look in the pinned range first, once there is one.
    let words = [
        lwz(5, 4, 0),
        lwz(6, 4, 0x7FF0),
        stw(6, 4, 0x7FF4),
        bdnz(-12),
        SC,
    ];
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
                ..Mapping::page(0xC000_0000, 0)
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
        let expected: Vec<_> = (0..asked.len() as u64)
            .map(|n| (0x1004, 4 * n + 1))
            .collect();
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
                spaces.map(1, ea, &Mapping::page(ea & !0xFFF, 0x6000));
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
    assert_eq!(
        (trap, asked),
        (Trap::Fetch, vec![(Trap::Fetch, 0x2_0000, 2)])
    );
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
            spaces.map(0, 0x2_0000, &Mapping::page(0x2_0000, 0x4000));
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
