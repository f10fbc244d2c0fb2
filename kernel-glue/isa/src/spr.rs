//! Special purpose register numbers, names and privilege.
//!
//! The numbers are the decoded ones, [`Word::spr`](crate::Word::spr). A register with separate
//! read and write numbers has two constants and one name.

macro_rules! sprs {
    ($($constant:ident = $number:literal, $name:literal, $doc:literal;)*) => {
        $(
            #[doc = concat!("SPR ", stringify!($number), ", ", $doc)]
            pub const $constant: u32 = $number;
        )*

        /// Every number that the 440EP implements, with its name, in ascending order.
        pub const ALL: &[(u32, &str)] = &[$(($number, $name)),*];
    };
}

sprs! {
    XER = 1, "XER", "integer exception register: SO, OV, CA and a byte count. User.";
    LR = 8, "LR", "link register. User.";
    CTR = 9, "CTR", "count register. User.";
    DEC = 22, "DEC", "decrementer.";
    SRR0 = 26, "SRR0", "return address of a non-critical interrupt.";
    SRR1 = 27, "SRR1", "MSR saved by a non-critical interrupt.";
    PID = 48, "PID", "process identifier, eight bits.";
    DECAR = 54, "DECAR", "decrementer auto-reload value. Write-only.";
    CSRR0 = 58, "CSRR0", "return address of a critical interrupt.";
    CSRR1 = 59, "CSRR1", "MSR saved by a critical interrupt.";
    DEAR = 61, "DEAR", "effective address of a data exception.";
    ESR = 62, "ESR", "exception syndrome.";
    IVPR = 63, "IVPR", "interrupt vector prefix: the upper 16 bits.";
    USPRG0 = 256, "USPRG0", "software register. User.";
    SPRG4_USER = 260, "SPRG4", "software register, read alias. User, read-only.";
    SPRG5_USER = 261, "SPRG5", "software register, read alias. User, read-only.";
    SPRG6_USER = 262, "SPRG6", "software register, read alias. User, read-only.";
    SPRG7_USER = 263, "SPRG7", "software register, read alias. User, read-only.";
    TBL = 268, "TBL", "time base, low word. User, read-only.";
    TBU = 269, "TBU", "time base, high word. User, read-only.";
    SPRG0 = 272, "SPRG0", "software register.";
    SPRG1 = 273, "SPRG1", "software register.";
    SPRG2 = 274, "SPRG2", "software register.";
    SPRG3 = 275, "SPRG3", "software register.";
    SPRG4 = 276, "SPRG4", "software register, write number.";
    SPRG5 = 277, "SPRG5", "software register, write number.";
    SPRG6 = 278, "SPRG6", "software register, write number.";
    SPRG7 = 279, "SPRG7", "software register, write number.";
    TBL_WRITE = 284, "TBL", "time base, low word. Write-only.";
    TBU_WRITE = 285, "TBU", "time base, high word. Write-only.";
    PIR = 286, "PIR", "processor identifier. Read-only.";
    PVR = 287, "PVR", "processor version. Read-only.";
    DBSR = 304, "DBSR", "debug status; a write clears the bits that it sets.";
    DBCR0 = 308, "DBCR0", "debug control.";
    DBCR1 = 309, "DBCR1", "debug control.";
    DBCR2 = 310, "DBCR2", "debug control.";
    IAC1 = 312, "IAC1", "instruction address compare.";
    IAC2 = 313, "IAC2", "instruction address compare.";
    IAC3 = 314, "IAC3", "instruction address compare.";
    IAC4 = 315, "IAC4", "instruction address compare.";
    DAC1 = 316, "DAC1", "data address compare.";
    DAC2 = 317, "DAC2", "data address compare.";
    DVC1 = 318, "DVC1", "data value compare.";
    DVC2 = 319, "DVC2", "data value compare.";
    TSR = 336, "TSR", "timer status; a write clears the bits that it sets.";
    TCR = 340, "TCR", "timer control.";
    IVOR0 = 400, "IVOR0", "interrupt vector offset: critical input.";
    IVOR1 = 401, "IVOR1", "interrupt vector offset: machine check.";
    IVOR2 = 402, "IVOR2", "interrupt vector offset: data storage.";
    IVOR3 = 403, "IVOR3", "interrupt vector offset: instruction storage.";
    IVOR4 = 404, "IVOR4", "interrupt vector offset: external input.";
    IVOR5 = 405, "IVOR5", "interrupt vector offset: alignment.";
    IVOR6 = 406, "IVOR6", "interrupt vector offset: program.";
    IVOR7 = 407, "IVOR7", "interrupt vector offset: floating point unavailable.";
    IVOR8 = 408, "IVOR8", "interrupt vector offset: system call.";
    IVOR9 = 409, "IVOR9", "interrupt vector offset: auxiliary processor unavailable.";
    IVOR10 = 410, "IVOR10", "interrupt vector offset: decrementer.";
    IVOR11 = 411, "IVOR11", "interrupt vector offset: fixed-interval timer.";
    IVOR12 = 412, "IVOR12", "interrupt vector offset: watchdog timer.";
    IVOR13 = 413, "IVOR13", "interrupt vector offset: data TLB error.";
    IVOR14 = 414, "IVOR14", "interrupt vector offset: instruction TLB error.";
    IVOR15 = 415, "IVOR15", "interrupt vector offset: debug.";
    MCSRR0 = 570, "MCSRR0", "return address of a machine check.";
    MCSRR1 = 571, "MCSRR1", "MSR saved by a machine check.";
    MCSR = 572, "MCSR", "machine check syndrome; a write clears the bits that it sets.";
    INV0 = 880, "INV0", "instruction cache normal victims.";
    INV1 = 881, "INV1", "instruction cache normal victims.";
    INV2 = 882, "INV2", "instruction cache normal victims.";
    INV3 = 883, "INV3", "instruction cache normal victims.";
    ITV0 = 884, "ITV0", "instruction cache transient victims.";
    ITV1 = 885, "ITV1", "instruction cache transient victims.";
    ITV2 = 886, "ITV2", "instruction cache transient victims.";
    ITV3 = 887, "ITV3", "instruction cache transient victims.";
    CCR1 = 888, "CCR1", "core configuration 1.";
    DNV0 = 912, "DNV0", "data cache normal victims.";
    DNV1 = 913, "DNV1", "data cache normal victims.";
    DNV2 = 914, "DNV2", "data cache normal victims.";
    DNV3 = 915, "DNV3", "data cache normal victims.";
    DTV0 = 916, "DTV0", "data cache transient victims.";
    DTV1 = 917, "DTV1", "data cache transient victims.";
    DTV2 = 918, "DTV2", "data cache transient victims.";
    DTV3 = 919, "DTV3", "data cache transient victims.";
    DVLIM = 920, "DVLIM", "data cache victim limits.";
    IVLIM = 921, "IVLIM", "instruction cache victim limits.";
    RSTCFG = 923, "RSTCFG", "attributes strapped at reset. Read-only.";
    DCDBTRL = 924, "DCDBTRL", "data cache debug tag, low. Read-only.";
    DCDBTRH = 925, "DCDBTRH", "data cache debug tag, high. Read-only.";
    ICDBTRL = 926, "ICDBTRL", "instruction cache debug tag, low. Read-only.";
    ICDBTRH = 927, "ICDBTRH", "instruction cache debug tag, high. Read-only.";
    MMUCR = 946, "MMUCR", "MMU control: STID, STS and cache-lock enables.";
    CCR0 = 947, "CCR0", "core configuration 0.";
    ICDBDR = 979, "ICDBDR", "instruction cache debug data. Read-only.";
    DBDR = 1011, "DBDR", "debug data scratch.";
}

/// The manual's name of SPR `number`, or `None` if the 440EP has no such register.
pub fn name(number: u32) -> Option<&'static str> {
    let index = ALL
        .binary_search_by_key(&number, |&(number, _)| number)
        .ok()?;
    Some(ALL[index].1)
}

/// Whether SPR `number` is privileged: in problem state an access is a Program interrupt with
/// ESR\[PPR\], whether or not the register exists. It is one bit of the number.
#[inline(always)]
pub const fn is_privileged(number: u32) -> bool {
    number & 0x10 != 0
}

#[cfg(test)]
mod tests {
    use super::{ALL, CTR, LR, SPRG4_USER, TBL, TBL_WRITE, TBU, USPRG0, XER, is_privileged, name};

    #[test]
    fn numbers_ascend_so_that_the_search_finds_each() {
        assert!(ALL.is_sorted_by(|a, b| a.0 < b.0));
        for &(number, expected) in ALL {
            assert_eq!(name(number), Some(expected));
        }
        assert_eq!((name(0), name(25), name(1023)), (None, None, None));
        assert_eq!(
            (name(SPRG4_USER), name(TBL), name(TBL_WRITE)),
            (Some("SPRG4"), Some("TBL"), Some("TBL"))
        );
    }

    #[test]
    fn only_the_user_registers_are_unprivileged() {
        let user: std::vec::Vec<u32> = ALL
            .iter()
            .map(|&(number, _)| number)
            .filter(|&number| !is_privileged(number))
            .collect();
        assert_eq!(user, [XER, LR, CTR, USPRG0, 260, 261, 262, 263, TBL, TBU]);
    }
}
