//! A process whose machines have no windows: nobody touches its signal handlers.
#![cfg(target_arch = "x86_64")]
// UNSAFE BECAUSE: only the C library says what a signal does.
#![allow(unsafe_code)]

mod hot_guest;

use std::mem::MaybeUninit;
use std::ptr;

use ppc440_cpu::{Engine, EngineChoice, Execution};

/// What this process does about SIGSEGV: the handler's address, and the flags.
fn handler() -> (usize, i32) {
    let mut action: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();
    // SAFETY: the call writes what is done now, which all zeros are too, and changes nothing.
    let action = unsafe {
        libc::sigaction(libc::SIGSEGV, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    (action.sa_sigaction, action.sa_flags)
}

// One test: the handler is the whole process's.
#[test]
fn sigsegv_is_handled_from_the_first_machine_with_windows_on_and_not_before() {
    let before = handler();
    for engine in [Engine::Translator, Engine::Interpreter] {
        let cpu = hot_guest::run(Execution {
            engine: EngineChoice::Only(engine),
            windows: false,
        });
        assert_eq!(cpu.engine(), engine);
        if engine == Engine::Translator {
            assert_eq!(hot_guest::shown(&cpu), None);
        }
        assert_eq!(handler(), before, "{engine:?}");
    }
    let _ = hot_guest::run(Engine::Interpreter);
    assert_eq!(handler(), before, "an interpreter has no windows");

    let cpu = hot_guest::run(Engine::Translator);
    assert_eq!(hot_guest::shown(&cpu), Some(1));
    let windows = handler();
    assert_ne!(windows, before);
    // It is installed once.
    let _ = hot_guest::run(Engine::Translator);
    assert_eq!(handler(), windows);
}
