//! The functions of ours that translated code calls.
// UNSAFE BECAUSE: translated code calls these functions, with the pointers that it was lent.
#![allow(unsafe_code)]

use ppc440_isa::{Regs, Trap};

use super::context::{Context, RESUME_AT_PC, stop};
use super::status::{settle, take_inexact};
use crate::interp::{Flow, run_one};
use crate::supervisor::Answer;

/// Runs an operation in the interpreter; 0 when the block goes on behind it.
///
/// # Safety
/// Called by translated code only, while `enter` lends it `context` and `regs`.
pub(super) unsafe extern "sysv64" fn interpret(
    context: *mut Context<'_>,
    regs: *mut Regs,
    site: u32,
    word: u32,
) -> u32 {
    // The arguments arrive as rdi, rsi, rdx, rcx.
    // SAFETY: `enter` holds unique references to both for as long as translated code runs.
    let (context, regs) = unsafe { (&mut *context, &mut *regs) };
    if context.uses_float {
        // The host may have tried the operation, and found it inexact, before it came here.
        settle(&mut context.unsettled, &mut regs.fpscr);
        take_inexact();
    }
    run(context, regs, word, site, None)
}

/// A load or a store at `ea` that found no entry: enters the page if it may be, and runs the
/// operation. With `WINDOWED`, it was to the window, which did not show the page, or not for stores.
///
/// # Safety
/// As for [`interpret`].
pub(super) unsafe extern "sysv64" fn access<const STORE: bool, const WINDOWED: bool>(
    context: *mut Context<'_>,
    regs: *mut Regs,
    site: u32,
    word: u32,
    ea: u32,
) -> u32 {
    // SAFETY: as in `interpret`.
    let (context, regs) = unsafe { (&mut *context, &mut *regs) };
    let told = match WINDOWED {
        false => run(context, regs, word, site, Some((ea, STORE))),
        true => run_refused(context, regs, word, site, (ea, STORE)),
    };
    unless_lost(context, regs, told, site)
}

/// An instruction that may change the mode, or is the core's: goes on at `pc`, with `context` saying
/// in which tables, and that the instruction is complete.
///
/// # Safety
/// As for [`interpret`].
pub(super) unsafe extern "sysv64" fn resume(
    context: *mut Context<'_>,
    regs: *mut Regs,
    site: u32,
    word: u32,
) -> u32 {
    // SAFETY: as in `interpret`.
    let (context, regs) = unsafe { (&mut *context, &mut *regs) };
    let (page, offset) = (regs.pc, site & 0xFFFF);
    regs.pc = page.wrapping_add(offset);
    match operate(context, regs, word) {
        Flow::Next => regs.pc = page.wrapping_add(offset + 4),
        Flow::Jump => {}
        flow => return stopped(context, regs, flow, page, site),
    }
    resume_at_pc(context, (site >> 16) + 1)
}

/// Goes on behind an instruction that did not change the mode by itself, in the page at `page`; if
/// it trapped, the supervisor is asked.
#[cold]
fn stopped(context: &mut Context<'_>, regs: &mut Regs, flow: Flow, page: u32, site: u32) -> u32 {
    let (offset, done) = (site & 0xFFFF, site >> 16);
    if flow == Flow::Call {
        regs.pc = page.wrapping_add(offset + 4);
    }
    if matches!(flow, Flow::Trap | Flow::Call) {
        let (answer, completed) = ask(context, regs, done);
        if answer != Answer::Trap {
            let told = resume_at_pc(context, done + completed);
            return unless_lost(context, regs, told, site);
        }
    }
    regs.pc = page;
    behind(context, regs, flow, site)
}

/// What translated code is told, [`stop`] or how it goes on, unless windows were lost meanwhile: it may
/// access them, so it comes back then.
#[inline]
fn unless_lost(context: &mut Context<'_>, regs: &mut Regs, told: u32, site: u32) -> u32 {
    // SAFETY: `enter`'s caller lent it.
    if !unsafe { &*context.exec }.mmu.has_lost_windows() {
        return told;
    }
    match told {
        0 => {
            regs.pc = regs.pc.wrapping_add((site & 0xFFFF) + 4);
            context.done = (site >> 16) + 1;
            stop::MISS
        }
        RESUME_AT_PC => stop::MISS,
        stop => stop,
    }
}

/// An indirect jump to `pc` that found no code: 0 when it may find it now, in the mode that it was
/// made in.
///
/// # Safety
/// As for [`interpret`].
pub(super) unsafe extern "sysv64" fn miss(context: *mut Context<'_>, regs: *mut Regs) -> u32 {
    // SAFETY: as in `interpret`.
    let (context, regs) = unsafe { (&mut *context, &mut *regs) };
    if context.budget == 0 {
        // The instruction at `pc` may not run, and what its fetch would do not happen.
        return stop::MISS;
    }
    // SAFETY: `enter`'s caller lent it; `ask` is called when this is not used any more.
    let exec = unsafe { &mut *context.exec };
    let (space, _) = exec.mmu.selected();
    if let (Some(ram), Some(fast)) = (exec.mmu.fetch_page(regs.pc), &mut exec.mmu.fast) {
        return match fast.fill_fetch(space, regs.pc, ram >> 12) {
            true => 0,
            false => stop::MISS,
        };
    }
    exec.trap = Trap::Fetch;
    match ask(context, regs, 0) {
        (Answer::Trap, _) => stop::TRAP,
        // This comes here again, and finds the page.
        (Answer::Retry, _) => 0,
        (Answer::GoOn, completed) => {
            let told = resume_at_pc(context, completed);
            unless_lost(context, regs, told, 0)
        }
    }
}

/// Has translated code go on at `pc`, `done` instructions further than the budget says.
#[inline]
fn resume_at_pc(context: &mut Context<'_>, done: u32) -> u32 {
    context.done = done;
    // SAFETY: `enter`'s caller lent it.
    let mmu = &unsafe { &*context.exec }.mmu;
    if let Some((data, fetch)) = mmu.fast_tables() {
        (context.data, context.fetch) = (data, fetch);
    }
    context.pin(mmu.pinned_loads());
    RESUME_AT_PC
}

/// Runs an operation, which accesses the page at an address, for stores or not; if it traps, the
/// supervisor is asked.
fn run(
    context: &mut Context<'_>,
    regs: &mut Regs,
    word: u32,
    site: u32,
    access: Option<(u32, bool)>,
) -> u32 {
    fill_fast(context, access);
    match operate(context, regs, word) {
        Flow::Trap => trapped(context, regs, word, site, access),
        flow => behind(context, regs, flow, site),
    }
}

/// Runs an access that the window did not show, and shows its page for the next one. Comes back if
/// it is to go by the tables from now on.
fn run_refused(
    context: &mut Context<'_>,
    regs: &mut Regs,
    word: u32,
    site: u32,
    access: (u32, bool),
) -> u32 {
    let pc = regs.pc.wrapping_add(site & 0xFFFF);
    let stop = run(context, regs, word, site, Some(access));
    if stop != 0 {
        return stop;
    }
    // SAFETY: `enter`'s caller lent both.
    let (exec, backoff) = unsafe { (&mut *context.exec, &mut *context.backoff) };
    exec.mmu.show(access.0);
    match exec.mmu.fetch_page(pc) {
        Some(ram) if backoff.refuse(ram | pc & 0xFFF) => {
            regs.pc = pc.wrapping_add(4);
            context.done = (site >> 16) + 1;
            stop::BY_TABLES
        }
        _ => 0,
    }
}

/// The rest of [`run`], behind a trap.
#[cold]
fn trapped(
    context: &mut Context<'_>,
    regs: &mut Regs,
    word: u32,
    site: u32,
    access: Option<(u32, bool)>,
) -> u32 {
    let (page, done) = (regs.pc, site >> 16);
    regs.pc = page.wrapping_add(site & 0xFFFF);
    let (answer, completed) = ask(context, regs, done);
    if answer == Answer::GoOn {
        let told = resume_at_pc(context, done + completed);
        return unless_lost(context, regs, told, site);
    }
    regs.pc = page;
    let flow = match answer {
        Answer::Retry => {
            fill_fast(context, access);
            operate(context, regs, word)
        }
        _ => Flow::Trap,
    };
    behind(context, regs, flow, site)
}

/// Gives translated code the page of an access, if that is allowed.
fn fill_fast(context: &mut Context<'_>, access: Option<(u32, bool)>) {
    let Some((ea, store)) = access else {
        return;
    };
    // SAFETY: `enter`'s caller lent it.
    let mmu = &mut unsafe { &mut *context.exec }.mmu;
    mmu.fill_fast(ea, store);
    if store {
        context.uncached = mmu.has_uncached();
    }
}

/// Asks the supervisor about the trap of the instruction at `pc`, before which `done` are complete
/// that the budget still counts; gives how many it completed.
fn ask(context: &mut Context<'_>, regs: &mut Regs, done: u32) -> (Answer, u32) {
    // SAFETY: `enter`'s caller lent both. The supervisor gets the tables, which translated code
    // reads, while none runs: what has become of them it finds out in `resume_at_pc`, and a page that was
    // added is no change to what it knows. It reaches neither the operations nor any code.
    let (exec, entry) = unsafe { (&mut *context.exec, &mut *context.entry) };
    let before = context.rest + (context.budget as u32).wrapping_sub(done);
    let mut left = before;
    let answer = entry.ask(&mut exec.mmu, regs, exec.trap, &mut left);
    (answer, before - left)
}

/// Runs an instruction's operation.
fn operate(context: &mut Context<'_>, regs: &mut Regs, word: u32) -> Flow {
    // SAFETY: `enter`'s caller lent both.
    let (exec, ops) = unsafe { (&mut *context.exec, &mut *context.ops) };
    run_one(ops.get(word), exec, regs)
}

/// How translated code goes on behind an operation of the interpreter: [`stop`], or 0.
fn behind(context: &mut Context<'_>, regs: &mut Regs, flow: Flow, site: u32) -> u32 {
    let (offset, done) = (site & 0xFFFF, site >> 16);
    let flow = match flow {
        Flow::CodeChanged if is_beside_code(context) => Flow::Next,
        flow => flow,
    };
    let (behind, completed, stop) = match flow {
        Flow::Next if regs.xer.so && !context.summary => (offset + 4, done + 1, stop::SUMMARY),
        Flow::Next => return 0,
        Flow::Trap | Flow::Undecoded => (offset, done, stop::TRAP),
        Flow::Call => (offset + 4, done, stop::TRAP),
        Flow::CodeChanged => (offset + 4, done + 1, stop::CODE_CHANGED),
        Flow::Stop => (offset + 4, done + 1, stop::TRAP),
        // No branch is given to the interpreter; were one, `pc` is where it leads.
        Flow::Jump => {
            context.done = done + 1;
            return stop::MISS;
        }
    };
    regs.pc = regs.pc.wrapping_add(behind);
    context.done = completed;
    stop
}

/// Whether the last store over a page with code is over none of it: Linux fills the pages of its
/// initialisation word by word when it frees them, and each held a few functions that ran.
fn is_beside_code(context: &Context<'_>) -> bool {
    // SAFETY: `enter`'s caller lent both, and changes no block while translated code runs.
    let (exec, blocks) = unsafe { (&*context.exec, &*context.blocks) };
    let (ram, bytes) = exec.changed;
    let last = ram.saturating_add(bytes.saturating_sub(1));
    ram >> 12 == last >> 12
        && exec.mmu.ram.watch().is_translators(ram)
        && !blocks.holds_code(ram >> 12, ram & 0xFFF, last & 0xFFF)
}
