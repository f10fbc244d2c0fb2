//! Threads that are not as the first one of a process is: with signals blocked, or a small stack.
#![cfg(target_arch = "x86_64")]
// UNSAFE BECAUSE: a thread's signals are blocked through the C library.
#![allow(unsafe_code)]

mod hot_guest;

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::thread;

use ppc440_cpu::{Clock, Cpu, Engine, Pins, Region};
use ppc440_isa::{Mapping, NoSupervisor, ProgramCause, Regs, Trap};

/// Blocks SIGSEGV in this thread.
fn block() {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: the first call makes the set that the others read.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGSEGV);
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), ptr::null_mut());
    }
}

#[test]
fn a_thread_whose_parent_blocked_sigsegv_runs_a_guest_in_windows() {
    // A thread, and a process, inherits what its parent blocks.
    let thread = thread::spawn(|| {
        block();
        thread::spawn(|| hot_guest::shown(&hot_guest::run(Engine::Translator))).join()
    });
    let shown = thread.join().expect("the parent").expect("its child");
    assert_eq!(shown, Some(1));
}

/// A guest of 100,000 calls that never return; returns where it ended, and LR.
fn calls_that_never_return() -> (Trap, u32, u32) {
    const CALLS: u32 = 100_000;
    let bytes = (CALLS as usize * 4).next_multiple_of(4096) + 4096;
    let ram = Arc::new(Region::new(bytes).expect("anonymous memory"));
    let cpu = Cpu::new(ram, Pins::new(), Clock::Virtual, 1, Engine::Translator);
    let mut cpu = cpu.expect("a CPU");
    for call in 0..CALLS {
        let branch = 0x4800_0005u32; // bl to the next instruction
        assert!(cpu.store(4 * call, &branch.to_be_bytes()));
    }
    for page in (0..bytes as u32).step_by(4096) {
        cpu.map(0, page, &Mapping::page(page, page));
    }
    let mut regs = Regs::default();
    // Once to make the code, then to run all of it: what comes after the calls is no instruction.
    let mut trap = Trap::Budget;
    for _ in 0..3 {
        regs.pc = 0;
        trap = cpu.enter(&mut regs, 2 * CALLS, &mut NoSupervisor);
    }
    (trap, regs.pc, regs.lr)
}

#[test]
fn calls_that_never_return_end_with_no_stack_however_small() {
    let end = 400_000;
    for kilobytes in [2048, 512, 256, 192] {
        let thread = thread::Builder::new().stack_size(kilobytes << 10);
        let thread = thread.spawn(calls_that_never_return).expect("a thread");
        let (trap, pc, lr) = thread.join().expect("a thread that ends");
        let illegal = matches!(
            trap,
            Trap::Program {
                cause: ProgramCause::Illegal,
                ..
            }
        );
        assert!(illegal, "{kilobytes}: {trap:?}");
        assert_eq!((pc, lr), (end, end), "{kilobytes}");
    }
}
