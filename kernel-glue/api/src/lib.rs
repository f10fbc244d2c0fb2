#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod device;
mod inproc;
mod kvm;
pub mod regs;
mod vcpu;
mod vm;

pub use device::{DEV_KVM, ProbeError};
pub use inproc::{Direct, Entry, InProcess};
pub use kvm::{Accel, Kvm, OpenError};
pub use regs::{KvmRegs, KvmSregs};
pub use vcpu::{RunError, SetRegsError, Statistics, Vcpu, VcpuExit, VcpuHandle};
pub use vm::{Vm, VmError, VmOptions};

pub use ppc440_cpu::{
    Clock, CodeStatistics, CodeWatch, CpuError, Engine, EngineChoice, GuestMemory, Region,
    TranslatorError, TranslatorStatistics, memory_file,
};
pub use ppc440_isa::regs::{dbsr, msr, tsr};
pub use ppc440_isa::tlb::{ENTRIES as TLB_ENTRIES, TlbWord0, TlbWord1, TlbWord2, Tlbe};
pub use ppc440_isa::{Access, Cr, Regs, Xer};
pub use ppc440_kvm::{
    Cause, Charge, Inject, Interrupt, InterruptLog, ResetKind, Slot, SlotError, Sprs, State, Stats,
    Stop, StopRefused, Stuck, Taken, TimerState, Timing, Translation, WatchFor, Where,
};
