//! Counters of what the core did, under KVM's names, and time per cause when asked for.

/// How often each thing happened since the vcpu was made.
///
/// The names are those of KVM's files in debugfs, plus a few that the 440's KVM lacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries into the guest.
    pub entries: u64,
    /// MMIO exits.
    pub mmio: u64,
    /// DCR exits.
    pub dcr: u64,
    /// Exits because somebody kicked the vcpu.
    pub sig: u64,
    /// Instruction TLB misses that the guest handles.
    pub itlb_r: u64,
    /// Fetches that the guest's TLB translates and the hardware did not hold.
    pub itlb_v: u64,
    /// Data TLB misses that the guest handles.
    pub dtlb_r: u64,
    /// Data accesses that the guest's TLB translates and the hardware did not hold.
    pub dtlb_v: u64,
    /// System calls.
    pub sysc: u64,
    /// Instruction storage interrupts.
    pub isi: u64,
    /// Data storage interrupts.
    pub dsi: u64,
    /// Alignment interrupts.
    pub align: u64,
    /// Program interrupts.
    pub prog: u64,
    /// Floating-point-unavailable interrupts.
    pub fp_unavail: u64,
    /// Debug interrupts.
    pub debug: u64,
    /// Machine checks.
    pub mcheck: u64,
    /// Privileged instructions emulated.
    pub inst_emu: u64,
    /// Loads and stores that the core performed in the hardware's place.
    pub access_emu: u64,
    /// Instructions that the core fetched in the hardware's place.
    pub fetch_emu: u64,
    /// Decrementer interrupts.
    pub dec: u64,
    /// External interrupts.
    pub ext_intr: u64,
    /// Interrupts that ended a wait that had left `run`.
    pub halt_wakeup: u64,
    /// Exits because the guest waits.
    pub halt: u64,
}

impl Stats {
    /// Every counter with its name.
    pub fn named(&self) -> [(&'static str, u64); 23] {
        [
            ("entries", self.entries),
            ("mmio", self.mmio),
            ("dcr", self.dcr),
            ("sig", self.sig),
            ("itlb_r", self.itlb_r),
            ("itlb_v", self.itlb_v),
            ("dtlb_r", self.dtlb_r),
            ("dtlb_v", self.dtlb_v),
            ("sysc", self.sysc),
            ("isi", self.isi),
            ("dsi", self.dsi),
            ("align", self.align),
            ("prog", self.prog),
            ("fp_unavail", self.fp_unavail),
            ("debug", self.debug),
            ("mcheck", self.mcheck),
            ("inst_emu", self.inst_emu),
            ("access_emu", self.access_emu),
            ("fetch_emu", self.fetch_emu),
            ("dec", self.dec),
            ("ext_intr", self.ext_intr),
            ("halt_wakeup", self.halt_wakeup),
            ("halt", self.halt),
        ]
    }
}

/// What the time between two entries is charged to; KVM's types of exit timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are KVM's; `name` spells them as its table does.
pub enum Cause {
    Mmio,
    Dcr,
    Signal,
    ItlbReal,
    ItlbVirt,
    DtlbReal,
    DtlbVirt,
    Syscall,
    Isi,
    Dsi,
    EmulInst,
    EmulWait,
    EmulWrtee,
    EmulMtspr,
    EmulMfspr,
    EmulMtmsr,
    EmulMfmsr,
    EmulTlbsx,
    EmulTlbwe,
    EmulRfi,
    Dec,
    ExtInt,
    Halt,
    UserProgram,
    FpUnavail,
    Debug,
    /// Time in the guest, from entry to trap, with what the core deals with meanwhile.
    InGuest,
}

/// Number of [`Cause`]s.
pub const CAUSES: usize = Cause::InGuest as usize + 1;

impl Cause {
    /// All of them, in order.
    pub const ALL: [Cause; CAUSES] = {
        use Cause::*;
        [
            Mmio,
            Dcr,
            Signal,
            ItlbReal,
            ItlbVirt,
            DtlbReal,
            DtlbVirt,
            Syscall,
            Isi,
            Dsi,
            EmulInst,
            EmulWait,
            EmulWrtee,
            EmulMtspr,
            EmulMfspr,
            EmulMtmsr,
            EmulMfmsr,
            EmulTlbsx,
            EmulTlbwe,
            EmulRfi,
            Dec,
            ExtInt,
            Halt,
            UserProgram,
            FpUnavail,
            Debug,
            InGuest,
        ]
    };

    /// The name in KVM's table of exit timing.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Mmio => "MMIO",
            Cause::Dcr => "DCR",
            Cause::Signal => "SIGNAL",
            Cause::ItlbReal => "ITLBREAL",
            Cause::ItlbVirt => "ITLBVIRT",
            Cause::DtlbReal => "DTLBREAL",
            Cause::DtlbVirt => "DTLBVIRT",
            Cause::Syscall => "SYSCALL",
            Cause::Isi => "ISI",
            Cause::Dsi => "DSI",
            Cause::EmulInst => "EMULINST",
            Cause::EmulWait => "EMUL_WAIT",
            Cause::EmulWrtee => "EMUL_WRTEE",
            Cause::EmulMtspr => "EMUL_MTSPR",
            Cause::EmulMfspr => "EMUL_MFSPR",
            Cause::EmulMtmsr => "EMUL_MTMSR",
            Cause::EmulMfmsr => "EMUL_MFMSR",
            Cause::EmulTlbsx => "EMUL_TLBSX",
            Cause::EmulTlbwe => "EMUL_TLBWE",
            Cause::EmulRfi => "EMUL_RFI",
            Cause::Dec => "DEC",
            Cause::ExtInt => "EXTINT",
            Cause::Halt => "HALT",
            Cause::UserProgram => "USR_PR_INST",
            Cause::FpUnavail => "FP_UNAVAIL",
            Cause::Debug => "DEBUG",
            Cause::InGuest => "TIMEINGUEST",
        }
    }
}

/// Intervals charged to one cause, in nanoseconds of host time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Number of intervals.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// Their sum.
    pub sum: u64,
}

/// Time per cause: from a trap to the next entry, and in the guest.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    charges: [Charge; CAUSES],
    last: u64,
    running: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            charges: [Charge::default(); CAUSES],
            last: 0,
            running: false,
        }
    }
}

impl Timing {
    /// What has been charged to `cause`.
    pub fn charge(&self, cause: Cause) -> Charge {
        self.charges[cause as usize]
    }

    /// Begins anew: the interval that is open is dropped.
    pub(crate) fn pause(&mut self) {
        self.running = false;
    }

    /// Ends the interval that began at the last call and charges it; the first one after a start
    /// is dropped, as KVM drops it.
    pub(crate) fn mark(&mut self, cause: Cause, now: u64) {
        if core::mem::replace(&mut self.running, true) {
            let took = now.saturating_sub(self.last);
            let charge = &mut self.charges[cause as usize];
            charge.min = if charge.count == 0 {
                took
            } else {
                charge.min.min(took)
            };
            charge.max = charge.max.max(took);
            charge.sum += took;
            charge.count += 1;
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_index_their_own_charges() {
        for (at, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, at);
            let same = |other: &&Cause| other.name() == cause.name();
            assert_eq!(Cause::ALL.iter().filter(same).count(), 1, "{cause:?}");
        }
    }

    #[test]
    fn the_first_interval_is_dropped_and_the_rest_add_up() {
        let mut timing = Timing::default();
        timing.mark(Cause::Mmio, 100);
        timing.mark(Cause::Mmio, 150);
        timing.mark(Cause::Mmio, 170);
        timing.mark(Cause::Dcr, 171);
        assert_eq!(
            timing.charge(Cause::Mmio),
            Charge {
                count: 2,
                min: 20,
                max: 50,
                sum: 70
            }
        );
        assert_eq!(timing.charge(Cause::Dcr).sum, 1);
    }
}
