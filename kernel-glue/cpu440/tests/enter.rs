//! What a CPU does when it is entered, whichever engine runs the code: traps, budgets, changed
//! code, interrupts.

/// Over the interpreter.
mod interpreter {
    const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::Interpreter;
    const WINDOWS: Option<ppc440_cpu::Windows> = None;
    include!("enter/cases.rs");
}

/// Over translated code.
#[cfg(target_arch = "x86_64")]
mod translator {
    const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::Translator;
    const WINDOWS: Option<ppc440_cpu::Windows> = None;
    include!("enter/cases.rs");
}

/// Over translated code, all of which uses windows.
#[cfg(target_arch = "x86_64")]
mod windows {
    const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::Translator;
    const WINDOWS: Option<ppc440_cpu::Windows> = Some(ppc440_cpu::Windows { after: 0, most: 3 });
    include!("enter/cases.rs");
}
