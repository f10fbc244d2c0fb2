//! A process that has as many mappings as the host's kernel allows: pages of guest RAM can be neither
//! shown nor hidden one by one any more. The guest must not notice, and above all not reach what was
//! taken from it.
#![cfg(target_arch = "x86_64")]
// UNSAFE BECAUSE: mappings are made and taken away to use all of them up.
#![allow(unsafe_code)]

use std::sync::Arc;

use ppc440_cpu::{Clock, Cpu, Engine, Pins, Windows, memory_file};
use ppc440_isa::{Mapping, NoSupervisor, Regs, Trap};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const PAGE: u32 = 4096;
/// Pages of data, and where they are for the guest and in RAM: one mapping of the host shows them all.
const PAGES: u32 = 64;
const DATA: u32 = 0x1000_0000;
const DATA_RAM: u32 = 0x10_0000;

/// Adds up a word of every page of data in r3, and counts each of them up.
const PROGRAM: [u32; 7] = [
    0x8085_0000, // lwz r4,0(r5)
    0x7C63_2214, // add r3,r3,r4
    0x3884_0001, // addi r4,r4,1
    0x9085_0000, // stw r4,0(r5)
    0x38A5_1000, // addi r5,r5,4096
    0x4200_FFEC, // bdnz to the start
    0x4400_0002, // sc
];

struct Guest {
    cpu: Cpu,
    regs: Regs,
}

impl Guest {
    fn new() -> Self {
        let ram = memory_file(2 << 20).expect("a memory file");
        let clock = Clock::Virtual;
        let cpu = Cpu::new(Arc::new(ram), Pins::new(), clock, 1, Engine::Translator);
        let mut cpu = cpu.expect("a CPU");
        cpu.set_windows(Windows {
            at_once: true,
            ..Windows::default()
        });
        let bytes: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert!(cpu.store(0, &bytes));
        cpu.map(0, 0, &Mapping::page(0, 0));
        let mut guest = Guest {
            cpu,
            regs: Regs::default(),
        };
        for page in 0..PAGES {
            guest.map(page, page);
        }
        guest
    }

    /// Maps a page of data to one of RAM.
    fn map(&mut self, page: u32, ram: u32) {
        let ea = DATA + page * PAGE;
        let mapping = Mapping::page(ea, DATA_RAM + ram * PAGE);
        self.cpu.map(0, ea, &mapping);
    }

    fn unmap(&mut self, page: u32) {
        self.cpu.unmap(0, DATA + page * PAGE, PAGE);
    }

    /// Runs the program over all pages; returns the trap that ended it, and the sum.
    fn run(&mut self) -> (Trap, u32) {
        self.run_from(0, PAGES)
    }

    /// Runs the program over `count` pages from one on.
    fn run_from(&mut self, page: u32, count: u32) -> (Trap, u32) {
        (self.regs.pc, self.regs.ctr) = (0, count);
        (self.regs.gpr[3], self.regs.gpr[5]) = (0, DATA + page * PAGE);
        let trap = self.cpu.enter(&mut self.regs, 10_000, &mut NoSupervisor);
        (trap, self.regs.gpr[3])
    }

    fn shown(&self) -> u64 {
        let statistics = self.cpu.translator_statistics();
        statistics
            .and_then(|statistics| statistics.shown_pages)
            .expect("windows")
    }
}

/// All mappings that the process may have yet.
struct Hoard {
    base: *mut u8,
    bytes: usize,
}

impl Hoard {
    fn new() -> Self {
        let page = PAGE as usize;
        let bytes = 8 << 30;
        // SAFETY: a fresh mapping overlaps nothing, and nobody accesses it.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        };
        let base: *mut u8 = base.expect("address space").cast();
        // Every other page is unlike its neighbours.
        let ended = (1..bytes / page).step_by(2).find_map(|n| {
            // SAFETY: the page is in that mapping.
            let page = unsafe { base.add(n * page) };
            // SAFETY: likewise.
            unsafe { mprotect(page.cast(), PAGE as usize, MprotectFlags::READ) }.err()
        });
        assert_eq!(ended, Some(Errno::NOMEM), "a kernel without a limit");
        Hoard { base, bytes }
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        // SAFETY: it is this one's own, and nobody accesses it.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}

/// What a machine was doing when the process ran out of mappings.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Nothing was shown yet.
    Nothing,
    /// All pages were, as one mapping.
    All,
    /// Every other one was.
    EveryOther,
}

/// A machine that has run so far; of its pages, page 30 is there and shown if any is.
fn machine(before: Before) -> Guest {
    let mut guest = Guest::new();
    match before {
        Before::Nothing => return guest,
        Before::All => {}
        Before::EveryOther => (1..PAGES).step_by(2).for_each(|page| guest.unmap(page)),
    }
    for _ in 0..20 {
        match before {
            Before::EveryOther => (0..PAGES).step_by(2).for_each(|page| {
                let _ = guest.run_from(page, 1);
            }),
            _ => assert_eq!(guest.run().0, Trap::Syscall),
        }
    }
    assert!(guest.shown() > 0);
    guest
}

/// A page is shown, hidden, and made one of code, in a process without mappings left.
fn none_left(before: Before) {
    let mut guest = machine(before);
    let hoard = Hoard::new();
    // Shown, if it was not.
    let (trap, sum) = guest.run_from(30, 1);
    assert_eq!(trap, Trap::Syscall, "{before:?}");
    // Made one of code: a branch to itself is in its second word, and runs.
    let branch = 0x4800_0000u32;
    let at = DATA_RAM + 30 * PAGE + 4;
    assert!(guest.cpu.store(at, &branch.to_be_bytes()));
    guest.regs.pc = DATA + 30 * PAGE + 4;
    let trap = guest.cpu.enter(&mut guest.regs, 100, &mut NoSupervisor);
    assert_eq!(trap, Trap::Budget, "{before:?}");
    assert_eq!(
        guest.run_from(30, 1),
        (Trap::Syscall, sum + 1),
        "{before:?}"
    );
    // Written over, as code that must be forgotten.
    assert_eq!(
        guest.run_from(30, 1),
        (Trap::Syscall, sum + 2),
        "{before:?}"
    );
    // Hidden.
    guest.unmap(30);
    let (trap, _) = guest.run_from(30, 1);
    let missed = matches!(trap, Trap::Data { ea, .. } if ea == DATA + 30 * PAGE);
    assert!(missed, "{before:?}: {trap:?}");
    // Given another page of RAM.
    guest.map(30, 31);
    let (trap, other) = guest.run_from(30, 1);
    drop(hoard);
    let mut word = [0; 4];
    assert!(guest.cpu.load(DATA_RAM + 31 * PAGE, &mut word));
    assert_eq!(
        (trap, other + 1),
        (Trap::Syscall, u32::from_be_bytes(word)),
        "{before:?}"
    );
}

// One test: it is the whole process that has no mappings left.
// One test: it is the whole process that has no mappings left.
#[test]
fn a_process_without_mappings_left_takes_pages_away_all_the_same() {
    let mut guest = Guest::new();
    for round in 0..20 {
        assert_eq!(guest.run(), (Trap::Syscall, round * PAGES));
    }
    assert_eq!(guest.shown(), u64::from(PAGES));

    let hoard = Hoard::new();
    guest.unmap(30);
    let (trap, sum) = guest.run();
    let shown = guest.shown();
    guest.map(30, 31);
    let (after, sum_after) = guest.run();
    drop(hoard);

    let ea = DATA + 30 * PAGE;
    assert!(
        matches!(trap, Trap::Data { ea: at, .. } if at == ea),
        "{trap:?}"
    );
    assert_eq!(sum, 30 * 20);
    assert!(
        shown <= 30,
        "all pages were in one mapping, and went with it: {shown}"
    );
    // The pages before have had one round more, and page 31 one within this round.
    let expected = 30 * 21 + 20 + 21 + 32 * 20;
    assert_eq!((after, sum_after), (Trap::Syscall, expected));

    // With mappings, as before.
    let (trap, _) = guest.run();
    assert_eq!((trap, guest.shown() > 0), (Trap::Syscall, true));

    for before in [Before::Nothing, Before::All, Before::EveryOther] {
        none_left(before);
    }

    // A machine that is made when there are mappings, beside others that go on.
    let mut others = [machine(Before::All), machine(Before::EveryOther)];
    none_left(Before::Nothing);
    for other in &mut others {
        assert_eq!(other.run_from(30, 1).0, Trap::Syscall);
    }
}
