//! What executes guest code.

use crate::jit::Jit;

/// The engine that executes guest code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The interpreter, which every host has.
    #[default]
    Interpreter,
    /// The translator to host code, see [`Engine::is_supported`].
    Translator,
}

impl Engine {
    /// Whether this host's processor has it: the translator needs x86-64 with MOVBE, BMI2, LZCNT and
    /// FMA. What the host allows the process is another matter, see [`crate::TranslatorError`].
    pub fn is_supported(self) -> bool {
        self == Engine::Interpreter || Jit::is_supported()
    }
}

/// The engine that a CPU is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The translator where the host has and allows it, else the interpreter; the CPU says why
    /// ([`Cpu::not_translator`](crate::Cpu::not_translator)).
    #[default]
    Auto,
    /// This one, or none.
    Only(Engine),
}

/// The way in which a CPU executes guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The engine.
    pub engine: EngineChoice,
    /// Whether the translator may show pages of guest RAM in windows, for which this process handles
    /// SIGSEGV. Without, hot code is slower, and no signal handler is installed.
    pub windows: bool,
}

impl Default for Execution {
    fn default() -> Self {
        EngineChoice::Auto.into()
    }
}

impl From<EngineChoice> for Execution {
    fn from(engine: EngineChoice) -> Self {
        Execution {
            engine,
            windows: true,
        }
    }
}

impl From<Engine> for Execution {
    fn from(engine: Engine) -> Self {
        EngineChoice::Only(engine).into()
    }
}
