//! What stands in for the translator on hosts that it makes no code for.

use ppc440_isa::{Regs, Trap};

use crate::code::TranslatorStatistics;
use crate::error::TranslatorError;
use crate::interp::Exec;
use crate::pins::Pins;
use crate::supervisor::Entry;

/// How translated code came back; never.
#[derive(Debug)]
#[allow(missing_docs)]
pub(crate) enum Ran {
    Trapped(Trap),
    CodeChanged,
    Short,
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Jit {}

impl Jit {
    pub fn is_supported() -> bool {
        false
    }

    pub fn new(_: &mut Exec, _: bool) -> Result<Self, TranslatorError> {
        Err(TranslatorError::Processor)
    }

    pub fn translate_at_once(&mut self) {
        match *self {}
    }

    pub fn run(
        &mut self,
        _: &mut Exec,
        _: &mut Regs,
        _: &mut u32,
        _: &Pins,
        _: &mut Entry<'_>,
    ) -> Ran {
        match *self {}
    }

    pub fn invalidate(&mut self, _: u32, _: u32, _: &mut Exec) {
        match *self {}
    }

    pub fn statistics(&self) -> TranslatorStatistics {
        match *self {}
    }
}
