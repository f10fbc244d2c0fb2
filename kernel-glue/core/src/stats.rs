//! Counters of what the core did, under KVM's names, and time per cause when asked for.

/// Counts of how often each thing happened since the vcpu was made.
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

impl Stats {
    /// Returns what the counter of a name that [`Stats::named`] gives counts, in a line for a person.
    pub fn meaning(name: &str) -> Option<&'static str> {
        Some(match name {
            "entries" => "entries into the guest",
            "mmio" => "loads and stores outside ram that the launcher answered",
            "dcr" => "device control register accesses that the launcher answered",
            "sig" => "returns to the launcher because another thread asked for one",
            "itlb_r" => "instruction tlb misses that the guest's own handler got",
            "itlb_v" => {
                "fetches that the guest's tlb translates, whose page the cpu was given only then"
            }
            "dtlb_r" => "data tlb misses that the guest's own handler got",
            "dtlb_v" => {
                "data accesses that the guest's tlb translates, whose page the cpu was given only then"
            }
            "sysc" => "system calls",
            "isi" => "instruction storage interrupts: fetches without permission",
            "dsi" => "data storage interrupts: accesses without permission",
            "align" => "alignment interrupts",
            "prog" => "program interrupts: illegal, privileged in user mode, traps, floating point",
            "fp_unavail" => "floating-point instructions while the guest's fpu was off",
            "debug" => "debug interrupts",
            "mcheck" => "machine checks",
            "inst_emu" => "privileged instructions that the core executed for the guest",
            "access_emu" => {
                "loads and stores that the core executed for the cpu: to devices, across pages, to pages that it cannot map"
            }
            "fetch_emu" => {
                "instructions that the core fetched for the cpu, from pages that it cannot map"
            }
            "dec" => "decrementer interrupts",
            "ext_intr" => "external interrupts that the guest took",
            "halt_wakeup" => "interrupts that ended a wait of the guest",
            "halt" => "waits of the guest for an interrupt",
            _ => return None,
        })
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

    /// Returns what the cause is, in a line for a person.
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::Mmio => {
                "emulating loads and stores outside RAM, and waiting for the launcher's devices to answer them"
            }
            Cause::Dcr => "device control register accesses, answered by the launcher's devices",
            Cause::Signal => "returns to the launcher because another thread asked for one",
            Cause::ItlbReal => "instruction TLB misses that the guest's own handler gets",
            Cause::ItlbVirt => {
                "fetches that the guest's TLB translates, and whose page the CPU was given only now"
            }
            Cause::DtlbReal => "data TLB misses that the guest's own handler gets",
            Cause::DtlbVirt => {
                "loads and stores that the guest's TLB translates, and whose page the CPU was given only now"
            }
            Cause::Syscall => "system calls (`sc`) that the guest's kernel gets",
            Cause::Isi => {
                "instruction storage interrupts: fetches that the guest's page does not permit"
            }
            Cause::Dsi => "data storage interrupts: accesses that the guest's page does not permit",
            Cause::EmulInst => {
                "privileged instructions that have no cause of their own, and alignment interrupts"
            }
            Cause::EmulWait => "waits of the guest for an interrupt (MSR[WE]); its idle time",
            Cause::EmulWrtee => {
                "emulating `wrtee` and `wrteei`, which switch external interrupts on or off"
            }
            Cause::EmulMtspr => "emulating `mtspr`, writes of special purpose registers",
            Cause::EmulMfspr => "emulating `mfspr` and `mftb`, reads of special purpose registers",
            Cause::EmulMtmsr => "emulating `mtmsr`, writes of the machine state register",
            Cause::EmulMfmsr => "emulating `mfmsr`, reads of the machine state register",
            Cause::EmulTlbsx => "emulating `tlbsx`, searches of the guest's TLB",
            Cause::EmulTlbwe => "emulating `tlbwe`, writes of the guest's TLB",
            Cause::EmulRfi => "emulating `rfi`, `rfci` and `rfmci`, returns from interrupts",
            Cause::Dec => {
                "decrementer interrupts; they are delivered on the way in, and cost no time of their own"
            }
            Cause::ExtInt => {
                "returns to the core so that it looks at time and interrupt inputs; nothing trapped"
            }
            Cause::Halt => "the time before the guest's first instruction",
            Cause::UserProgram => {
                "program interrupts that the guest gets: illegal, privileged in user mode, traps, floating-point exceptions"
            }
            Cause::FpUnavail => {
                "floating-point instructions while the guest has the FPU switched off (MSR[FP])"
            }
            Cause::Debug => {
                "debug interrupts: breakpoints, watchpoints and single steps of the guest"
            }
            Cause::InGuest => {
                "time in the guest, from entry to trap, with what the core deals with meanwhile"
            }
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
    /// The sum of the times.
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

    /// Begins again: the interval that is open is dropped.
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
    fn every_counter_and_every_cause_is_explained_in_words_of_its_own() {
        let stats = Stats::default();
        let counters = stats
            .named()
            .map(|(name, _)| Stats::meaning(name).expect(name));
        let causes = Cause::ALL.map(Cause::meaning);
        for meanings in [&counters[..], &causes[..]] {
            for (at, meaning) in meanings.iter().enumerate() {
                assert!(
                    !meaning.is_empty() && !meanings[..at].contains(meaning),
                    "{meaning}"
                );
            }
        }
        assert_eq!(Stats::meaning("speed"), None);
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
