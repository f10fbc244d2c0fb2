//! What leaves the core: exits, and the run page that carries them as KVM lays it out.
//!
//! Offsets and exit numbers are those of `struct kvm_run` in Linux 3.12; they are the same on
//! powerpc and x86_64.

use crate::stops::Stop;

/// The part of the system that a reset reaches (DBCR0\[RST\], TCR\[WRC\]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetKind {
    /// The processor core.
    Core = 1,
    /// The chip: the core and its on-chip devices.
    Chip = 2,
    /// The system: the chip and the board.
    System = 3,
}

impl ResetKind {
    /// The kind from its two-bit code; `None` for 0, no reset.
    pub fn from_code(code: u32) -> Option<Self> {
        match code & 3 {
            1 => Some(ResetKind::Core),
            2 => Some(ResetKind::Chip),
            3 => Some(ResetKind::System),
            _ => None,
        }
    }
}

/// The reason why a CPU can do nothing more, whatever time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Interrupt follows interrupt and no instruction completes: the vector of one raises the
    /// next, for example an instruction TLB miss at the very handler of those misses.
    EndlessInterrupts,
    /// A machine check while MSR\[ME\] is 0.
    MachineCheckDisabled,
    /// A branch to itself with interrupts off; only with [`crate::Vcpu::set_hang_exits`].
    Spins,
    /// A wait (MSR\[WE\]) with interrupts off; only with [`crate::Vcpu::set_hang_exits`].
    WaitsDeaf,
}

/// The reason why [`crate::Vcpu::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An access to guest-physical memory that is no RAM.
    ///
    /// `data[i]` is the byte at `gpa + i`: memory order, whatever the host's. After a read the
    /// answer goes into [`crate::Vcpu::complete_mmio`].
    Mmio {
        /// Guest-physical address, naturally aligned to `len`.
        gpa: u64,
        /// 1, 2, 4 or 8 bytes.
        len: u8,
        /// The guest writes; otherwise it reads.
        write: bool,
        /// What the guest writes, in the first `len` bytes.
        data: [u8; 8],
    },
    /// An access to a device control register; the answer of a read goes into
    /// [`crate::Vcpu::complete_dcr`].
    Dcr {
        /// Register number, 10 bits.
        dcrn: u16,
        /// The guest writes; otherwise it reads.
        write: bool,
        /// What the guest writes.
        data: u32,
    },
    /// Somebody kicked the vcpu.
    Interrupted,
    /// The guest waits (MSR\[WE\]) and nothing can be delivered, or it spins until something is
    /// (with [`crate::Vcpu::set_hang_exits`]), or it spins in interrupts that only its watchdog
    /// can end: call `run` again when an input changes or the deadline comes.
    Wait {
        /// In ticks of [`crate::Hw::time_base`]; `None` when no timer will ever wake it.
        deadline: Option<u64>,
    },
    /// The guest reset itself.
    Reset {
        /// How far the reset reaches.
        kind: ResetKind,
        /// The watchdog ran out; otherwise the guest wrote DBCR0\[RST\].
        by_watchdog: bool,
    },
    /// The CPU cannot go on, and no input could change that.
    CannotGoOn {
        /// Where it stands.
        pc: u32,
        /// The reason.
        reason: Stuck,
    },
    /// The guest stands where a debugger wants it to, before the instruction at `pc`; see
    /// [`crate::Vcpu::add_breakpoint`], [`crate::Vcpu::add_watchpoint`] and
    /// [`crate::Vcpu::step_next`].
    Debug(Stop),
}

/// Exit numbers of the run page, as KVM's user-space ABI has them.
pub mod exit_reason {
    /// Nothing KVM has a name for.
    pub const UNKNOWN: u32 = 0;
    /// [`super::Exit::Debug`].
    pub const DEBUG: u32 = 4;
    /// The guest waits; a kernel back end never returns it, it blocks.
    pub const HLT: u32 = 5;
    /// [`super::Exit::Mmio`].
    pub const MMIO: u32 = 6;
    /// [`super::Exit::Interrupted`].
    pub const INTR: u32 = 10;
    /// [`super::Exit::Dcr`].
    pub const DCR: u32 = 15;
    /// [`super::Exit::CannotGoOn`].
    pub const INTERNAL_ERROR: u32 = 17;
    /// [`super::Exit::Reset`] by the watchdog.
    pub const WATCHDOG: u32 = 21;
    /// [`super::Exit::Reset`] through DBCR0.
    pub const SYSTEM_EVENT: u32 = 24;
}

/// `type` of a system event: the guest asked for a reset.
pub const SYSTEM_EVENT_RESET: u32 = 2;

/// Bytes of the run page's union.
const UNION: usize = 256;

/// The run page: the fixed head of `struct kvm_run`, all fields in host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RunPage {
    /// In: ask for an exit as soon as an interrupt can be taken; the 440 ignores it.
    pub request_interrupt_window: u8,
    /// In: return before the guest runs; younger than KVM for the 440.
    pub immediate_exit: u8,
    padding: [u8; 6],
    /// Out: one of [`exit_reason`].
    pub exit_reason: u32,
    /// Out: 1 on every exit of a 440.
    pub ready_for_interrupt_injection: u8,
    /// Out: unused by the 440.
    pub if_flag: u8,
    /// Out: unused by the 440.
    pub flags: u16,
    /// Unused by the 440.
    pub cr8: u64,
    /// Unused by the 440.
    pub apic_base: u64,
    /// What `exit_reason` gives a meaning; read and written through the methods.
    pub exit: ExitData,
}

/// The union of the run page, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct ExitData(pub [u8; UNION]);

impl Default for RunPage {
    fn default() -> Self {
        RunPage {
            request_interrupt_window: 0,
            immediate_exit: 0,
            padding: [0; 6],
            exit_reason: exit_reason::UNKNOWN,
            ready_for_interrupt_injection: 0,
            if_flag: 0,
            flags: 0,
            cr8: 0,
            apic_base: 0,
            exit: ExitData([0; UNION]),
        }
    }
}

/// Offsets inside the union.
mod at {
    pub const MMIO_PHYS_ADDR: usize = 0;
    pub const MMIO_DATA: usize = 8;
    pub const MMIO_LEN: usize = 16;
    pub const MMIO_IS_WRITE: usize = 20;
    pub const DCR_DCRN: usize = 0;
    pub const DCR_DATA: usize = 4;
    pub const DCR_IS_WRITE: usize = 8;
    pub const EVENT_TYPE: usize = 0;
    pub const EVENT_NDATA: usize = 4;
    pub const EVENT_DATA: usize = 8;
    pub const ERROR_SUBERROR: usize = 0;
    pub const ERROR_NDATA: usize = 4;
    pub const ERROR_DATA: usize = 8;
    pub const HW_REASON: usize = 0;
}

impl RunPage {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        core::array::from_fn(|i| self.exit.0[at + i])
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.exit.0[at..at + N].copy_from_slice(&bytes);
    }

    /// `mmio.phys_addr`.
    pub fn mmio_phys_addr(&self) -> u64 {
        u64::from_ne_bytes(self.bytes(at::MMIO_PHYS_ADDR))
    }

    /// `mmio.data`, in memory order.
    pub fn mmio_data(&self) -> [u8; 8] {
        self.bytes(at::MMIO_DATA)
    }

    /// Sets `mmio.data`: the answer of a read.
    pub fn set_mmio_data(&mut self, data: [u8; 8]) {
        self.put(at::MMIO_DATA, data);
    }

    /// `mmio.len` in bytes.
    pub fn mmio_len(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(at::MMIO_LEN))
    }

    /// `mmio.is_write`.
    pub fn mmio_is_write(&self) -> bool {
        self.exit.0[at::MMIO_IS_WRITE] != 0
    }

    /// `dcr.dcrn`.
    pub fn dcr_dcrn(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(at::DCR_DCRN))
    }

    /// `dcr.data`.
    pub fn dcr_data(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(at::DCR_DATA))
    }

    /// Sets `dcr.data`: the answer of a read.
    pub fn set_dcr_data(&mut self, data: u32) {
        self.put(at::DCR_DATA, data.to_ne_bytes());
    }

    /// `dcr.is_write`.
    pub fn dcr_is_write(&self) -> bool {
        self.exit.0[at::DCR_IS_WRITE] != 0
    }

    /// `system_event.type`.
    pub fn system_event_type(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(at::EVENT_TYPE))
    }

    /// `system_event.data[0]`: the reset's kind as its two-bit code.
    pub fn system_event_data(&self) -> u64 {
        u64::from_ne_bytes(self.bytes(at::EVENT_DATA))
    }

    /// `hw.hardware_exit_reason`.
    pub fn hardware_exit_reason(&self) -> u64 {
        u64::from_ne_bytes(self.bytes(at::HW_REASON))
    }

    /// `internal.suberror`.
    pub fn internal_suberror(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(at::ERROR_SUBERROR))
    }

    /// `internal.data[0]`: where the CPU stands.
    pub fn internal_data(&self) -> u64 {
        u64::from_ne_bytes(self.bytes(at::ERROR_DATA))
    }
}

impl Exit {
    /// Writes the exit into the run page, every byte of its variant.
    pub fn write_to(&self, page: &mut RunPage) {
        page.ready_for_interrupt_injection = 1;
        page.exit_reason = match *self {
            Exit::Mmio {
                gpa,
                len,
                write,
                data,
            } => {
                page.put(at::MMIO_PHYS_ADDR, gpa.to_ne_bytes());
                page.put(at::MMIO_DATA, data);
                page.put(at::MMIO_LEN, u32::from(len).to_ne_bytes());
                page.put(at::MMIO_IS_WRITE, [u8::from(write)]);
                exit_reason::MMIO
            }
            Exit::Dcr { dcrn, write, data } => {
                page.put(at::DCR_DCRN, u32::from(dcrn).to_ne_bytes());
                page.put(at::DCR_DATA, data.to_ne_bytes());
                page.put(at::DCR_IS_WRITE, [u8::from(write)]);
                exit_reason::DCR
            }
            Exit::Interrupted => exit_reason::INTR,
            Exit::Debug(_) => exit_reason::DEBUG,
            Exit::Wait { deadline } => {
                page.put(at::HW_REASON, deadline.unwrap_or(u64::MAX).to_ne_bytes());
                exit_reason::HLT
            }
            Exit::Reset { kind, by_watchdog } => {
                page.put(at::EVENT_TYPE, SYSTEM_EVENT_RESET.to_ne_bytes());
                page.put(at::EVENT_NDATA, 1u32.to_ne_bytes());
                page.put(at::EVENT_DATA, (kind as u64).to_ne_bytes());
                if by_watchdog {
                    exit_reason::WATCHDOG
                } else {
                    exit_reason::SYSTEM_EVENT
                }
            }
            Exit::CannotGoOn { pc, reason } => {
                page.put(at::ERROR_SUBERROR, (reason as u32 + 1).to_ne_bytes());
                page.put(at::ERROR_NDATA, 1u32.to_ne_bytes());
                page.put(at::ERROR_DATA, u64::from(pc).to_ne_bytes());
                exit_reason::INTERNAL_ERROR
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn the_run_page_has_kvms_offsets() {
        assert_eq!(offset_of!(RunPage, request_interrupt_window), 0);
        assert_eq!(offset_of!(RunPage, immediate_exit), 1);
        assert_eq!(offset_of!(RunPage, exit_reason), 8);
        assert_eq!(offset_of!(RunPage, ready_for_interrupt_injection), 12);
        assert_eq!(offset_of!(RunPage, if_flag), 13);
        assert_eq!(offset_of!(RunPage, cr8), 16);
        assert_eq!(offset_of!(RunPage, apic_base), 24);
        assert_eq!(offset_of!(RunPage, exit), 32);
        assert_eq!(size_of::<RunPage>(), 288);
    }

    #[test]
    fn answers_are_put_where_the_questions_were() {
        let mut page = RunPage::default();
        page.set_mmio_data([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(page.mmio_data(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut page = RunPage::default();
        page.set_dcr_data(0x1234_5678);
        assert_eq!(page.dcr_data(), 0x1234_5678);
    }

    #[test]
    fn an_mmio_exit_fills_the_members_at_kvms_offsets() {
        let mut page = RunPage::default();
        let data = [1, 2, 3, 4, 0, 0, 0, 0];
        Exit::Mmio {
            gpa: 0x1_EF60_0300,
            len: 4,
            write: true,
            data,
        }
        .write_to(&mut page);
        assert_eq!(page.exit_reason, 6);
        assert_eq!(page.ready_for_interrupt_injection, 1);
        assert_eq!(page.exit.0[0..8], 0x1_EF60_0300u64.to_ne_bytes());
        assert_eq!(page.exit.0[8..16], data);
        assert_eq!(page.exit.0[16..20], 4u32.to_ne_bytes());
        assert_eq!(page.exit.0[20], 1);
        assert_eq!((page.mmio_phys_addr(), page.mmio_len()), (0x1_EF60_0300, 4));
        assert!(page.mmio_is_write() && page.mmio_data() == data);
    }

    #[test]
    fn a_dcr_exit_fills_the_members_at_kvms_offsets() {
        let mut page = RunPage::default();
        Exit::Dcr {
            dcrn: 0xC0,
            write: true,
            data: 0x1234_5678,
        }
        .write_to(&mut page);
        assert_eq!(page.exit_reason, 15);
        assert_eq!(page.exit.0[0..4], 0xC0u32.to_ne_bytes());
        assert_eq!(page.exit.0[4..8], 0x1234_5678u32.to_ne_bytes());
        assert_eq!(page.exit.0[8], 1);
        page.set_dcr_data(7);
        assert_eq!(
            (page.dcr_dcrn(), page.dcr_data(), page.dcr_is_write()),
            (0xC0, 7, true)
        );
    }

    #[test]
    fn every_other_exit_has_its_number() {
        let mut page = RunPage::default();
        let mut number = |exit: Exit| {
            exit.write_to(&mut page);
            (page.exit_reason, page.clone())
        };
        assert_eq!(number(Exit::Interrupted).0, 10);
        assert_eq!(
            number(Exit::Wait { deadline: None })
                .1
                .hardware_exit_reason(),
            u64::MAX
        );
        let (reason, event) = number(Exit::Reset {
            kind: ResetKind::System,
            by_watchdog: false,
        });
        assert_eq!(
            (reason, event.system_event_type(), event.system_event_data()),
            (24, 2, 3)
        );
        assert_eq!(
            number(Exit::Reset {
                kind: ResetKind::Core,
                by_watchdog: true
            })
            .0,
            21
        );
        let stuck = Exit::CannotGoOn {
            pc: 0x100,
            reason: Stuck::EndlessInterrupts,
        };
        let (reason, error) = number(stuck);
        assert_eq!(
            (reason, error.internal_suberror(), error.internal_data()),
            (17, 1, 0x100)
        );
    }
}
