//! Accesses that the host's MMU refuses: a window does not show their page, or not for stores.
//!
//! The host's kernel says so with SIGSEGV. The handler, which this process gets when the first
//! translator with windows is made, knows for each access of translated code where the code is that does it in another
//! way, and goes on there. Every other SIGSEGV is whoever's it was before.
// UNSAFE BECAUSE: a signal handler changes where the interrupted thread goes on.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{REG_RIP, SA_ONSTACK, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGSEGV, siginfo_t, ucontext_t};

/// For accesses that the host may refuse, where code goes on then; all are offsets in the code memory.
#[derive(Debug, Default)]
pub(super) struct Sites(BTreeMap<u32, u32>);

impl Sites {
    /// Enters those of the `bytes` bytes of code at `at`, in place of those that were there.
    pub fn set(&mut self, at: u32, bytes: u32, sites: &[(u32, u32)]) {
        while let Some((&access, _)) = self.0.range(at..at + bytes).next() {
            self.0.remove(&access);
        }
        self.0.extend(sites.iter().copied());
    }

    /// Bytes that they take, about.
    pub fn bytes(&self) -> usize {
        self.0.len() * 2 * size_of::<(u32, u32)>()
    }
}

/// The code that a thread runs.
#[derive(Debug)]
pub(super) struct Running<'a> {
    /// Address of the code memory.
    pub code: usize,
    pub sites: &'a Sites,
}

thread_local! {
    /// What this thread runs now, if that is translated code.
    static RUNNING: Cell<*const Running<'static>> = const { Cell::new(ptr::null()) };
}

thread_local! {
    /// This thread was seen to that it takes SIGSEGV.
    static UNBLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// What SIGSEGV did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Runs translated code.
pub(super) fn during<R>(running: &Running<'_>, run: impl FnOnce() -> R) -> R {
    RUNNING.set(ptr::from_ref(running).cast());
    let result = run();
    RUNNING.set(ptr::null());
    result
}

/// Sees to it that SIGSEGV comes here.
///
/// # Errors
/// When the host does not let this process handle it.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let mut before = MaybeUninit::zeroed();
        // SAFETY: all zeros are an action, to which the rest is written; both are the call's alone.
        let result = unsafe {
            if libc::sigaction(SIGSEGV, ptr::null(), before.as_mut_ptr()) != 0 {
                return Err(last_error());
            }
            // The handler reads it, and may be called before the next call returns.
            BEFORE.get_or_init(|| before.assume_init());
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(SIGSEGV, &action, ptr::null_mut())
        };
        match result {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    });
    installed.map_err(io::Error::from_raw_os_error)
}

/// Sees to it that this thread takes SIGSEGV, which its parent may have blocked: the host's kernel ends a
/// process that blocks it and makes an access that is refused.
///
/// It stays so when the guest comes back. To block it again would be a call to the host's kernel for each
/// entry into translated code, and would change one thing only: when somebody sends the signal to the
/// thread, it is handled at once, as whoever was there before does.
#[inline]
pub(super) fn unblock() {
    if !UNBLOCKED.get() {
        unblock_now();
    }
}

#[cold]
fn unblock_now() {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: the first call makes the set that the others change and read, and it is this call's alone.
    // They fail for no set and no signal that there is.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), SIGSEGV);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, signals.as_ptr(), ptr::null_mut());
    }
    UNBLOCKED.set(true);
}

fn last_error() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

/// The handler. It reads what the thread lent when it began to run translated code, and changes nothing
/// but the place where that goes on; it takes no lock and no memory.
///
/// # Safety
/// The host's kernel calls it.
unsafe extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the interrupted thread's registers, and nobody else has them.
    let rip = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs[REG_RIP as usize] };
    // SAFETY: `during` holds the reference for as long as it is there; and while the thread is at
    // an access of translated code, nobody changes the sites.
    if let Some(running) = unsafe { RUNNING.get().as_ref() }
        && let Ok(at) = u32::try_from((*rip as usize).wrapping_sub(running.code))
        && let Some(on) = running.sites.0.get(&at)
    {
        *rip = (running.code + *on as usize) as i64;
        return;
    }
    if let Some(before) = BEFORE.get() {
        // SAFETY: the kernel gave both, to be passed to whoever handles the signal.
        unsafe { pass_on(before, signal, info, context) };
    }
}

/// Does what a signal did before.
///
/// # Safety
/// `before` is an action that the kernel knew, and the rest what it calls handlers with.
unsafe fn pass_on(
    before: &libc::sigaction,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    match before.sa_sigaction {
        SIG_DFL | SIG_IGN => {
            // SAFETY: the action is one that the kernel gave. The access is tried once more, and
            // then the signal does what it would have done.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
        handler if before.sa_flags & SA_SIGINFO != 0 => {
            // SAFETY: the kernel would have called it so.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: likewise.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static SEEN: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn three(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let seen = signal as usize + info.addr() + context.addr();
        SEEN.fetch_add(seen, Ordering::Relaxed);
    }

    extern "C" fn one(signal: c_int) {
        SEEN.fetch_add(1_000_000 * signal as usize, Ordering::Relaxed);
    }

    fn action(handler: usize, flags: c_int) -> libc::sigaction {
        // SAFETY: all zeros are an action.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        action
    }

    #[test]
    fn a_handler_that_was_there_before_is_called_as_the_kernel_would() {
        let info = ptr::without_provenance_mut(100);
        let context = ptr::without_provenance_mut(2000);
        let actions = [
            action(three as *const () as usize, SA_SIGINFO | SA_ONSTACK),
            action(one as *const () as usize, 0),
        ];
        for before in actions {
            // SAFETY: the handlers look at nothing behind their arguments.
            unsafe { pass_on(&before, 11, info, context) };
        }
        assert_eq!(SEEN.load(Ordering::Relaxed), 11 + 100 + 2000 + 11_000_000);
    }

    #[test]
    fn what_nobody_handles_ends_the_process() {
        install().expect("a handler");
        // As it is here, where Rust's own handler was before; and with none before.
        for nobody in [false, true] {
            // SAFETY: the child does nothing but call the kernel, handle a signal, and end.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above.
                unsafe {
                    if nobody {
                        let before = action(SIG_DFL, 0);
                        pass_on(&before, SIGSEGV, ptr::null_mut(), ptr::null_mut());
                    }
                    ptr::null_mut::<u8>().write_volatile(0);
                    libc::_exit(0);
                }
            }
            let mut status = 0;
            // SAFETY: the child is this process's own.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == SIGSEGV);
        }
    }

    #[test]
    fn code_has_the_sites_that_it_was_given_last() {
        let mut sites = Sites::default();
        sites.set(0x100, 0x80, &[(0x104, 0x150), (0x17F, 0x160)]);
        sites.set(0x180, 0x40, &[(0x180, 0x190)]);
        sites.set(0x140, 0x40, &[(0x144, 0x170)]);
        let left: Vec<_> = sites.0.into_iter().collect();
        assert_eq!(left, [(0x104, 0x150), (0x144, 0x170), (0x180, 0x190)]);
    }
}
