//! Device control register numbers and names of the 440EP's on-chip devices.
//!
//! The numbers are the decoded ones, [`Word::dcr`](crate::Word::dcr). What the registers do belongs
//! to the devices; the numbers are here because they are part of `mfdcr` and `mtdcr`.

macro_rules! dcrs {
    ($($name:ident = $number:literal, $doc:literal;)*) => {
        $(
            #[doc = concat!("DCR ", stringify!($number), ", ", $doc)]
            pub const $name: u32 = $number;
        )*

        /// Every number that a device of the 440EP answers, with its name, in ascending order.
        pub const ALL: &[(u32, &str)] = &[$(($number, stringify!($name))),*];
    };
}

dcrs! {
    CPR0_CFGADDR = 0x00C, "clock and power on reset: which register `CPR0_CFGDATA` reaches.";
    CPR0_CFGDATA = 0x00D, "clock and power on reset: the register that `CPR0_CFGADDR` selects.";
    SDR0_CFGADDR = 0x00E, "system device: which register `SDR0_CFGDATA` reaches.";
    SDR0_CFGDATA = 0x00F, "system device: the register that `SDR0_CFGADDR` selects.";
    SDRAM0_CFGADDR = 0x010, "DDR SDRAM controller: which register `SDRAM0_CFGDATA` reaches.";
    SDRAM0_CFGDATA = 0x011, "DDR SDRAM controller: the register that `SDRAM0_CFGADDR` selects.";
    EBC0_CFGADDR = 0x012, "external bus controller: which register `EBC0_CFGDATA` reaches.";
    EBC0_CFGDATA = 0x013, "external bus controller: the register that `EBC0_CFGADDR` selects.";
    PLB3A0_ACR = 0x077, "PLB3 arbiter control.";
    PLB4A0_ACR = 0x081, "PLB4 arbiter 0 control.";
    PLB0_BESR = 0x084, "PLB bus error status; a write clears the bits that it sets.";
    PLB0_BEAR = 0x086, "PLB bus error address. Read-only.";
    PLB0_ACR = 0x087, "PLB arbiter control.";
    PLB4A1_ACR = 0x089, "PLB4 arbiter 1 control.";
    UIC0_SR = 0x0C0, "interrupt controller 0 status; a write clears the bits that it sets.";
    UIC0_SRS = 0x0C1, "interrupt controller 0 status set; a write sets the bits that it sets.";
    UIC0_ER = 0x0C2, "interrupt controller 0 enable.";
    UIC0_CR = 0x0C3, "interrupt controller 0 critical: 1 for the critical output.";
    UIC0_PR = 0x0C4, "interrupt controller 0 polarity: 1 for active high or rising.";
    UIC0_TR = 0x0C5, "interrupt controller 0 trigger: 1 for edge.";
    UIC0_MSR = 0x0C6, "interrupt controller 0 masked status. Read-only.";
    UIC0_VR = 0x0C7, "interrupt controller 0 vector of the most important critical input. Read-only.";
    UIC0_VCR = 0x0C8, "interrupt controller 0 vector base and priority order. Write-only.";
    UIC1_SR = 0x0D0, "interrupt controller 1 status; a write clears the bits that it sets.";
    UIC1_SRS = 0x0D1, "interrupt controller 1 status set; a write sets the bits that it sets.";
    UIC1_ER = 0x0D2, "interrupt controller 1 enable.";
    UIC1_CR = 0x0D3, "interrupt controller 1 critical: 1 for the critical output.";
    UIC1_PR = 0x0D4, "interrupt controller 1 polarity: 1 for active high or rising.";
    UIC1_TR = 0x0D5, "interrupt controller 1 trigger: 1 for edge.";
    UIC1_MSR = 0x0D6, "interrupt controller 1 masked status. Read-only.";
    UIC1_VR = 0x0D7, "interrupt controller 1 vector of the most important critical input. Read-only.";
    UIC1_VCR = 0x0D8, "interrupt controller 1 vector base and priority order. Write-only.";
    DMA0_CR0 = 0x100, "DMA channel 0 control.";
    DMA0_CTC0 = 0x101, "DMA channel 0 count and control.";
    DMA0_SAH0 = 0x102, "DMA channel 0 source address, high.";
    DMA0_SAL0 = 0x103, "DMA channel 0 source address, low.";
    DMA0_DAH0 = 0x104, "DMA channel 0 destination address, high.";
    DMA0_DAL0 = 0x105, "DMA channel 0 destination address, low.";
    DMA0_SGH0 = 0x106, "DMA channel 0 scatter-gather descriptor address, high.";
    DMA0_SGL0 = 0x107, "DMA channel 0 scatter-gather descriptor address, low.";
    DMA0_CR1 = 0x108, "DMA channel 1 control.";
    DMA0_CTC1 = 0x109, "DMA channel 1 count and control.";
    DMA0_SAH1 = 0x10A, "DMA channel 1 source address, high.";
    DMA0_SAL1 = 0x10B, "DMA channel 1 source address, low.";
    DMA0_DAH1 = 0x10C, "DMA channel 1 destination address, high.";
    DMA0_DAL1 = 0x10D, "DMA channel 1 destination address, low.";
    DMA0_SGH1 = 0x10E, "DMA channel 1 scatter-gather descriptor address, high.";
    DMA0_SGL1 = 0x10F, "DMA channel 1 scatter-gather descriptor address, low.";
    DMA0_CR2 = 0x110, "DMA channel 2 control.";
    DMA0_CTC2 = 0x111, "DMA channel 2 count and control.";
    DMA0_SAH2 = 0x112, "DMA channel 2 source address, high.";
    DMA0_SAL2 = 0x113, "DMA channel 2 source address, low.";
    DMA0_DAH2 = 0x114, "DMA channel 2 destination address, high.";
    DMA0_DAL2 = 0x115, "DMA channel 2 destination address, low.";
    DMA0_SGH2 = 0x116, "DMA channel 2 scatter-gather descriptor address, high.";
    DMA0_SGL2 = 0x117, "DMA channel 2 scatter-gather descriptor address, low.";
    DMA0_CR3 = 0x118, "DMA channel 3 control.";
    DMA0_CTC3 = 0x119, "DMA channel 3 count and control.";
    DMA0_SAH3 = 0x11A, "DMA channel 3 source address, high.";
    DMA0_SAL3 = 0x11B, "DMA channel 3 source address, low.";
    DMA0_DAH3 = 0x11C, "DMA channel 3 destination address, high.";
    DMA0_DAL3 = 0x11D, "DMA channel 3 destination address, low.";
    DMA0_SGH3 = 0x11E, "DMA channel 3 scatter-gather descriptor address, high.";
    DMA0_SGL3 = 0x11F, "DMA channel 3 scatter-gather descriptor address, low.";
    DMA0_SR = 0x120, "DMA status; a write clears the bits that it sets.";
    DMA0_SGC = 0x123, "DMA scatter-gather command.";
    DMA0_SLP = 0x125, "DMA sleep mode.";
    DMA0_POL = 0x126, "DMA signal polarity.";
    MAL0_CFG = 0x180, "memory access layer configuration; its top bit resets and reads 0 when done.";
    MAL0_ESR = 0x181, "memory access layer error status; a write clears the bits that it sets.";
    MAL0_IER = 0x182, "memory access layer interrupt enable.";
    MAL0_TXCASR = 0x184, "memory access layer transmit channels active, set.";
    MAL0_TXCARR = 0x185, "memory access layer transmit channels active, reset.";
    MAL0_TXEOBISR = 0x186, "memory access layer transmit end of buffer status; a write clears the bits that it sets.";
    MAL0_TXDEIR = 0x187, "memory access layer transmit descriptor errors; a write clears the bits that it sets.";
    MAL0_RXCASR = 0x190, "memory access layer receive channels active, set.";
    MAL0_RXCARR = 0x191, "memory access layer receive channels active, reset.";
    MAL0_RXEOBISR = 0x192, "memory access layer receive end of buffer status; a write clears the bits that it sets.";
    MAL0_RXDEIR = 0x193, "memory access layer receive descriptor errors; a write clears the bits that it sets.";
    MAL0_TXCTP0R = 0x1A0, "memory access layer transmit channel 0 table pointer.";
    MAL0_TXCTP1R = 0x1A1, "memory access layer transmit channel 1 table pointer.";
    MAL0_TXCTP2R = 0x1A2, "memory access layer transmit channel 2 table pointer.";
    MAL0_TXCTP3R = 0x1A3, "memory access layer transmit channel 3 table pointer.";
    MAL0_RXCTP0R = 0x1C0, "memory access layer receive channel 0 table pointer.";
    MAL0_RXCTP1R = 0x1C1, "memory access layer receive channel 1 table pointer.";
    MAL0_RCBS0 = 0x1E0, "memory access layer receive channel 0 buffer size, in units of 16 bytes.";
    MAL0_RCBS1 = 0x1E1, "memory access layer receive channel 1 buffer size, in units of 16 bytes.";
}

/// The name of DCR `number`, unit first (`UIC0_SR`), or `None` if no device answers it.
pub fn name(number: u32) -> Option<&'static str> {
    let index = ALL
        .binary_search_by_key(&number, |&(number, _)| number)
        .ok()?;
    Some(ALL[index].1)
}

#[cfg(test)]
mod tests {
    use super::{ALL, CPR0_CFGADDR, MAL0_RCBS1, UIC1_VCR, name};

    #[test]
    fn numbers_ascend_so_that_the_search_finds_each() {
        assert!(ALL.is_sorted_by(|a, b| a.0 < b.0));
        for &(number, expected) in ALL {
            assert_eq!(name(number), Some(expected));
        }
        assert_eq!((name(0), name(0x0C9), name(1023)), (None, None, None));
        assert_eq!((CPR0_CFGADDR, UIC1_VCR, MAL0_RCBS1), (0x00C, 0x0D8, 0x1E1));
    }
}
