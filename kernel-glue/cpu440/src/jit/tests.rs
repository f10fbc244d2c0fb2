use std::sync::Arc;

use ppc440_isa::{Mapping, NoSupervisor, ProgramCause, Spaces, Supervisor};

use super::*;
use crate::mmu::Mmu;
use crate::ram::{Ram, Region, memory_file};

/// A guest of 200 pages, each of which counts in r3 and goes to the next; the last goes to the
/// first while CTR counts down, and then traps.
fn exec() -> Exec {
    const PAGES: u32 = 200;
    let region = Arc::new(Region::new((PAGES as usize) << 12).expect("anonymous memory"));
    let ram = Ram::new(region).expect("RAM");
    for page in 0..PAGES {
        let at = page << 12;
        ram.store(at, 0x3863_0001u32); // addi r3,r3,1
        if page + 1 < PAGES {
            ram.store(at + 4, 0x4800_0FFCu32); // b to the next page
        } else {
            ram.store(at + 4, 0x4200_0002u32); // bdnza 0
            ram.store(at + 8, 0u32);
        }
    }
    let mut exec = Exec::new(Mmu::new(ram).expect("tables"));
    for page in 0..PAGES {
        exec.mmu
            .map(0, page << 12, &Mapping::page(page << 12, page << 12));
    }
    exec
}

/// A translator that translates at once.
fn jit(exec: &mut Exec) -> Jit {
    let mut jit = Jit::new(exec, true).expect("code memory");
    jit.translate_at_once();
    jit
}

fn run(jit: &mut Jit, exec: &mut Exec, regs: &mut Regs, left: &mut u32) -> Ran {
    let mut nobody = NoSupervisor;
    let mut entry = Entry::new(&mut nobody, u64::from(*left));
    jit.run(exec, regs, left, &Pins::new(), &mut entry)
}

fn lap(jit: &mut Jit, exec: &mut Exec, laps: u32) -> u32 {
    let mut regs = Regs {
        ctr: laps,
        ..Regs::default()
    };
    let mut left = u32::MAX;
    match run(jit, exec, &mut regs, &mut left) {
        Ran::Trapped(Trap::Program {
            cause: ProgramCause::Illegal,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(u32::MAX - left, laps * 400);
    regs.gpr[3]
}

#[test]
fn code_memory_stays_within_its_bounds_however_much_is_translated() {
    let mut exec = exec();
    // Room for less than all.
    let bytes = MOST_BYTES + 8192;
    let mut jit = Jit::with_code_memory(&mut exec, bytes, true).expect("code memory");
    jit.translate_at_once();
    assert_eq!(lap(&mut jit, &mut exec, 50), 10_000);
    let first = jit.statistics();
    assert!(first.evicted > 5000, "{first:?}");
    assert_eq!(lap(&mut jit, &mut exec, 500), 100_000);
    let second = jit.statistics();
    assert!(second.code_bytes <= bytes as u64);
    assert!(second.table_bytes < 1 << 20);
    // Pages whose code was given up are watched no more.
    let watched = (0..200).filter(|page| exec.mmu.ram.watch().watched(page << 12));
    assert!(watched.count() < 150);
}

#[test]
fn what_runs_twice_is_interpreted_and_what_runs_again_is_translated() {
    let mut exec = exec();
    let mut jit = Jit::new(&mut exec, true).expect("code memory");
    assert_eq!(lap(&mut jit, &mut exec, 2), 400);
    let cold = jit.statistics();
    // Nearly: places may share a counter.
    assert!(cold.blocks < 10 && cold.first_runs > 760, "{cold:?}");
    assert_eq!(lap(&mut jit, &mut exec, 100), 20_000);
    let warm = jit.statistics();
    assert!(warm.blocks >= 200, "{warm:?}");
    assert!(warm.first_runs <= cold.first_runs + 40, "{warm:?}");
    let watched = (0..200).all(|page| exec.mmu.ram.watch().watched(page << 12));
    assert!(watched, "all that was translated");
}

#[test]
fn a_first_run_that_writes_over_itself_sees_what_it_wrote_and_leaves_no_watch() {
    let mut exec = exec();
    // stw r4,8(0); nop; and here something else than addi r3,r3,1; then an illegal instruction.
    for (at, word) in [
        (0, 0x9080_0008),
        (4, 0x6000_0000),
        (8, 0x3863_0001),
        (12, 0),
    ] {
        exec.mmu.ram.store::<u32>(at, word);
    }
    let mut jit = Jit::new(&mut exec, true).expect("code memory");
    let mut regs = Regs::default();
    regs.gpr[4] = 0x3863_0007; // addi r3,r3,7
    let mut left = 100;
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::CodeChanged), "{ran:?}");
    assert_eq!((exec.changed, regs.pc, left), ((8, 4), 4, 99));
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::Trapped(Trap::Program { .. })), "{ran:?}");
    assert_eq!((regs.gpr[3], regs.pc, left), (7, 12, 97));
    assert!(!exec.mmu.ram.watch().watched(0));
}

#[test]
fn a_store_beside_code_of_its_page_goes_on_and_one_over_it_does_not() {
    let mut exec = exec();
    // stw r4,0(r5); addi r5,r5,4; bdnz to the start; then an illegal instruction.
    let program = [0x9085_0000, 0x38A5_0004, 0x4200_FFF8, 0];
    for (at, word) in (0..).step_by(4).zip(program) {
        exec.mmu.ram.store::<u32>(at, word);
    }
    // And code behind it, which stays.
    exec.mmu.ram.store::<u32>(0x100, 0x4BFF_FF00u32); // b back to the start
    let mut jit = jit(&mut exec);
    let mut regs = Regs {
        pc: 0x100,
        ctr: 40,
        ..Regs::default()
    };
    regs.gpr[4] = 0x6000_0000;
    regs.gpr[5] = 0x80;
    let mut left = 1000;
    // 32 words are written beside it; the next is over the branch.
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::CodeChanged), "{ran:?}");
    assert_eq!((exec.changed, regs.pc, regs.gpr[5]), ((0x100, 4), 4, 0x100));
    jit.invalidate(0x100, 4, &mut exec);
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::Trapped(Trap::Program { .. })), "{ran:?}");
    assert_eq!((regs.gpr[5], left), (0x80 + 4 * 40, 1000 - 1 - 3 * 40));
    for at in (0x80..0x120).step_by(4) {
        assert_eq!(exec.mmu.ram.load::<u32>(at), Some(0x6000_0000), "{at:x}");
    }
    // What else is made from the page is not the translator's to tell.
    exec.mmu.ram.watch().set(0, Keeper::Interpreter, true);
    (regs.pc, regs.ctr, regs.gpr[5]) = (0, 2, 0x200);
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::CodeChanged), "{ran:?}");
    assert_eq!(exec.changed, (0x200, 4));
}

#[test]
fn jumps_are_linked_once_and_then_lead_on_without_coming_back() {
    let mut exec = exec();
    let mut jit = jit(&mut exec);
    assert_eq!(lap(&mut jit, &mut exec, 2), 400);
    let first = jit.statistics();
    assert_eq!(lap(&mut jit, &mut exec, 1000), 200_000);
    let second = jit.statistics();
    assert_eq!(second.blocks, first.blocks);
    // Only slices that ended.
    assert!(second.entries - first.entries < 50, "{second:?}");
}

#[test]
fn a_page_that_is_mapped_elsewhere_is_not_jumped_to() {
    let mut exec = exec();
    let mut jit = jit(&mut exec);
    assert_eq!(lap(&mut jit, &mut exec, 2), 400);
    // Page 7 becomes what page 199 is: the laps are short, and the last ends in its trap.
    exec.mmu.unmap(0, 7 << 12, 4096);
    exec.mmu.map(0, 7 << 12, &Mapping::page(7 << 12, 199 << 12));
    let mut regs = Regs {
        ctr: 3,
        ..Regs::default()
    };
    let mut left = 10_000;
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::Trapped(Trap::Program { .. })), "{ran:?}");
    assert_eq!((regs.gpr[3], regs.pc), (24, (7 << 12) + 8));
}

#[test]
fn a_loop_that_runs_long_gets_a_window_for_what_it_loads() {
    let region = memory_file(1 << 20).expect("a memory file");
    let ram = Ram::new(Arc::new(region)).expect("RAM");
    // lwz r4,16(r5); add r3,r3,r4; stw r3,32(r5); bdnz to the start.
    for (at, word) in (0..)
        .step_by(4)
        .zip([0x8085_0010, 0x7C63_2214, 0x9065_0020, 0x4200_FFF4])
    {
        assert!(ram.store::<u32>(at, word));
    }
    assert!(ram.store(0x3010, 7u32));
    let mut exec = Exec::new(Mmu::new(ram).expect("tables"));
    for (ea, ram) in [(0, 0), (0x8000_0000, 0x3000)] {
        exec.mmu.map(0, ea, &Mapping::page(ea, ram));
    }
    let mut jit = jit(&mut exec);
    let mut regs = Regs {
        ctr: 200_000,
        ..Regs::default()
    };
    regs.gpr[5] = 0x8000_0000;
    let mut left = u32::MAX;
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::Trapped(Trap::Program { .. })), "{ran:?}");
    assert_eq!((u32::MAX - left, regs.gpr[3]), (800_000, 1_400_000));
    assert_eq!(exec.mmu.ram.load(0x3020), Some(1_400_000u32));
    assert_eq!(jit.statistics().hot, 1);
    assert_eq!(exec.mmu.fast.as_ref().map(Fast::shown), Some(1));
}

/// Takes page 2 of data away from the guest when it misses page 1, which it gives it.
struct Swap;

impl Supervisor for Swap {
    fn trap(&mut self, spaces: &mut dyn Spaces, _: &mut Regs, trap: Trap) -> bool {
        let Trap::Data {
            ea: 0x8000_1000, ..
        } = trap
        else {
            return false;
        };
        spaces.map(0, 0x8000_1000, &Mapping::page(0x8000_1000, 0x4000));
        spaces.unmap(0, 0x8000_2000, 4096);
        true
    }
}

#[test]
fn a_host_that_hides_nothing_any_more_costs_a_machine_its_windows_only() {
    let region = memory_file(1 << 20).expect("a memory file");
    let ram = Ram::new(Arc::new(region)).expect("RAM");
    // lwz r3,0(r6); lwz r3,0(r7); lwz r4,0(r5); add r8,r8,r4; bdnz to the start.
    let code = [
        0x8066_0000,
        0x8067_0000,
        0x8085_0000,
        0x7D08_2214,
        0x4200_FFF0,
    ];
    for (at, word) in (0..).step_by(4).zip(code) {
        assert!(ram.store::<u32>(at, word));
    }
    assert!(ram.store(0x3000, 1u32));
    let mut exec = Exec::new(Mmu::new(ram).expect("tables"));
    for (ea, ram) in [(0, 0), (0x8000_0000, 0x3000), (0x8000_2000, 0x5000)] {
        exec.mmu.map(0, ea, &Mapping::page(ea, ram));
    }
    let mut jit = jit(&mut exec);
    exec.mmu.fast.as_mut().expect("tables").windows.at_once = true;
    let mut regs = Regs::default();
    let mut laps = |exec: &mut Exec, second: u32, third: u32| {
        (regs.pc, regs.ctr, regs.gpr[8]) = (0, 1000, 0);
        regs.gpr[5..8].copy_from_slice(&[0x8000_0000, second, third]);
        let mut supervisor = Swap;
        let mut entry = Entry::new(&mut supervisor, 1 << 20);
        let ran = jit.run(exec, &mut regs, &mut (1 << 20), &Pins::new(), &mut entry);
        (ran, regs.pc, regs.gpr[8])
    };
    let windows = |exec: &Exec| exec.mmu.has_windows();
    let done = laps(&mut exec, 0x8000_2000, 0x8000_2000);
    assert_eq!((done.1, done.2, windows(&exec)), (0x14, 1000, true));
    exec.mmu.fast.as_mut().expect("tables").refuse_to_hide();
    // The miss of page 1 takes page 2, which is shown: the next instruction must not see it.
    let (ran, pc, _) = laps(&mut exec, 0x8000_1000, 0x8000_2000);
    let missed = matches!(
        ran,
        Ran::Trapped(Trap::Data {
            ea: 0x8000_2000,
            ..
        })
    );
    assert!(missed && pc == 4, "{ran:?}");
    assert!(!windows(&exec));
    let done = laps(&mut exec, 0x8000_1000, 0x8000_0000);
    assert_eq!((done.1, done.2), (0x14, 1000), "by the tables");
}

#[test]
fn what_goes_through_memory_is_not_all_shown() {
    const PAGES: u32 = 256;
    let region = memory_file((PAGES as usize) << 12).expect("a memory file");
    let ram = Ram::new(Arc::new(region)).expect("RAM");
    // lwzx r4,r5,r8; add r3,r3,r4; addi r5,r5,4096; and r5,r5,r6; bdnz to the start.
    let code = [
        0x7C85_402E,
        0x7C63_2214,
        0x38A5_1000,
        0x7CA5_3038,
        0x4200_FFF0,
    ];
    for (at, word) in (0..).step_by(4).zip(code) {
        assert!(ram.store::<u32>(at, word));
    }
    let mut exec = Exec::new(Mmu::new(ram).expect("tables"));
    exec.mmu.map(0, 0, &Mapping::page(0, 0));
    for page in (0..PAGES).map(|page| page << 12) {
        let ea = 0x8000_0000 + page;
        exec.mmu.map(0, ea, &Mapping::page(ea, page));
    }
    let mut jit = jit(&mut exec);
    let mut regs = Regs {
        ctr: 1 << 20,
        ..Regs::default()
    };
    (regs.gpr[6], regs.gpr[8]) = ((PAGES - 1) << 12, 0x8000_0000);
    let mut left = u32::MAX;
    let ran = run(&mut jit, &mut exec, &mut regs, &mut left);
    assert!(matches!(ran, Ran::Trapped(Trap::Program { .. })), "{ran:?}");
    assert_eq!(regs.gpr[3], 0x7C85_402Eu32.wrapping_mul(4096));
    let statistics = jit.statistics();
    let shown = exec.mmu.fast.as_ref().map_or(0, Fast::shown);
    assert!(
        statistics.hot > 0 && (64..200).contains(&shown),
        "{shown} {statistics:?}"
    );
}
