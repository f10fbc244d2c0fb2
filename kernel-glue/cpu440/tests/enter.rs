//! What a CPU does when it is entered, whichever engine runs the code: traps, budgets, changed
//! code, interrupts, and what it asks the supervisor.
//!
//! | file | holds |
//! |---|---|
//! | `machine.rs` | a CPU with some pages, and words to run in them |
//! | `problem_state.rs` | what problem state does, and what comes back to the core |
//! | `supervisor.rs` | changes of mode, TLB writes, and the supervisor that is asked |

/// All cases, over an engine.
macro_rules! over {
    ($name:ident, $engine:ident, $windows:expr) => {
        mod $name {
            const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::$engine;
            const WINDOWS: Option<ppc440_cpu::Windows> = $windows;
            include!("enter/machine.rs");
            include!("enter/problem_state.rs");
            include!("enter/supervisor.rs");
        }
    };
}

over!(interpreter, Interpreter, None);
#[cfg(target_arch = "x86_64")]
over!(translator, Translator, None);
// All of whose code uses windows.
#[cfg(target_arch = "x86_64")]
over!(
    windows,
    Translator,
    Some(ppc440_cpu::Windows {
        at_once: true,
        most: 3,
    })
);
