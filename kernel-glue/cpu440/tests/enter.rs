//! What a CPU does when it is entered, whichever engine runs the code: traps, budgets, changed
//! code, interrupts.

/// Over the interpreter.
mod interpreter {
    const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::Interpreter;
    include!("enter/cases.rs");
}

/// Over translated code.
#[cfg(target_arch = "x86_64")]
mod translator {
    const ENGINE: ppc440_cpu::Engine = ppc440_cpu::Engine::Translator;
    include!("enter/cases.rs");
}
