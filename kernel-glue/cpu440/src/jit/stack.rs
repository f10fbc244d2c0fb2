//! How deep translated code may call: each of the guest's calls that waits for its return is one of the
//! host's, on the stack of the thread that runs it.
// UNSAFE BECAUSE: only the C library says where a thread's stack is.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

/// Bytes of a call: guest and host address.
const CALL: usize = 16;
/// Bytes that the functions take which translated code calls, the supervisor and signal handlers among
/// them; the handlers' frame alone, with all vector registers, is 11 KB on processors that have AMX.
const RESERVE: usize = 96 << 10;
/// Calls that are allowed however little is left: 4 KB are no more than any function may take, and no
/// block has as many instructions.
const FEWEST: usize = 256;

thread_local! {
    /// The addresses of this thread's stack, once they are known.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Calls for which the stack of this thread has room, as deep as it is now; one takes an instruction, so
/// that many instructions may run until translated code comes back.
#[inline]
pub(super) fn calls_that_fit() -> u32 {
    let here = 0u8;
    fit(ptr::from_ref(&here).addr(), STACK.get().unwrap_or_else(ask))
}

/// The calls that fit below `here` in a stack. Outside of it, this is a stack that somebody has made, of
/// a size that nobody knows.
fn fit(here: usize, (lowest, end): (usize, usize)) -> u32 {
    let left = match (lowest..end).contains(&here) {
        true => here - lowest,
        false => 0,
    };
    let calls = (left.saturating_sub(RESERVE) / CALL).max(FEWEST);
    u32::try_from(calls).unwrap_or(u32::MAX)
}

/// Asks the host where this thread's stack is: that of the process's first thread may grow as far as its
/// limit allows.
#[cold]
fn ask() -> (usize, usize) {
    let (mut lowest, mut bytes) = (ptr::null_mut(), 0);
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the first call fills in the attributes if it returns 0, the second reads them, and the
    // third ends their life; they are this call's alone.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut bytes);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    let stack = (lowest.addr(), lowest.addr().saturating_add(bytes));
    STACK.set(Some(stack));
    stack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_stack_says_how_deep_calls_may_go() {
        let stack = (0x10_0000, 0x90_0000);
        for (here, calls) in [
            (0x90_0000 - 1, (0x80_0000 - 1 - RESERVE) / CALL),
            (0x10_0000 + RESERVE + 0x10_0000, 0x1_0000),
            (0x10_0000 + RESERVE, FEWEST),
            (0x10_0000, FEWEST),
            // Not this stack.
            (0x90_0000, FEWEST),
            (0x1000, FEWEST),
        ] {
            assert_eq!(fit(here, stack), calls as u32, "{here:x}");
        }
    }

    #[test]
    fn a_thread_of_a_small_stack_knows_that() {
        const BYTES: usize = 512 << 10;
        let thread = std::thread::Builder::new().stack_size(BYTES);
        let calls = thread.spawn(calls_that_fit).expect("a thread").join();
        let calls = calls.expect("a thread that ends") as usize;
        assert!(calls > (BYTES - RESERVE) / CALL / 2, "{calls}");
        assert!(calls <= (BYTES - RESERVE) / CALL + 4096 / CALL, "{calls}");
    }
}
