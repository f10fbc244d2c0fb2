//! The floating-point unit held against `rustc_apfloat`, against the host's own arithmetic, and
//! against Book E's text, case by case.
#![forbid(unsafe_code)]

mod arithmetic;
mod convert;
mod host;
mod operands;
mod oracle;
mod status;
