//! The Bamboo board: every address, size, DCR number, interrupt and clock, each exactly once.
//!
//! The machine places its devices from these values and the tree describes the same values to the
//! guest, so the two cannot disagree. Nothing here says how a device behaves, and nothing here
//! depends on how much memory a machine has.
//!
//! All guest physical addresses fit 32 bits: the board keeps everything at ERPN 0.

/// The root `compatible` of the board, which selects Linux's 44x platform code.
pub const COMPATIBLE: &str = "amcc,bamboo";

/// A range of guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioRange {
    /// First guest physical address.
    pub base: u32,
    /// Size in bytes, never 0.
    pub size: u32,
}

impl MmioRange {
    /// A range of `size` bytes at `base`.
    pub const fn new(base: u32, size: u32) -> Self {
        MmioRange { base, size }
    }

    /// The last address inside the range.
    pub const fn last(self) -> u32 {
        self.base + (self.size - 1)
    }

    /// Whether the two ranges share an address.
    pub const fn overlaps(self, other: MmioRange) -> bool {
        self.base <= other.last() && other.base <= self.last()
    }
}

/// A range of device control register numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DcrRange {
    /// First DCR number (0..=0x3FF).
    pub base: u16,
    /// How many consecutive numbers, never 0.
    pub count: u16,
}

impl DcrRange {
    /// `count` registers from `base`.
    pub const fn new(base: u16, count: u16) -> Self {
        DcrRange { base, count }
    }

    /// The last register number of the range.
    pub const fn last(self) -> u16 {
        self.base + (self.count - 1)
    }

    /// Whether the two ranges share a register.
    pub const fn overlaps(self, other: DcrRange) -> bool {
        self.base <= other.last() && other.base <= self.last()
    }
}

/// One of the two universal interrupt controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// The controller whose outputs are the core's external and critical inputs.
    Uic0,
    /// The controller that is cascaded into UIC0.
    Uic1,
}

/// What a UIC input reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Latched on a rising edge.
    RisingEdge,
    /// Latched on a falling edge.
    FallingEdge,
    /// Asserted while high.
    LevelHigh,
    /// Asserted while low.
    LevelLow,
}

impl Trigger {
    /// The second cell of an interrupt specifier in the device tree.
    pub const fn flags(self) -> u32 {
        match self {
            Trigger::RisingEdge => 1,
            Trigger::FallingEdge => 2,
            Trigger::LevelHigh => 4,
            Trigger::LevelLow => 8,
        }
    }
}

/// A wire into an interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Where the wire ends.
    pub controller: Controller,
    /// The input's number (0..=31); its bit in the UIC's registers is `0x8000_0000 >> input`.
    pub input: u8,
    /// What the input reacts to.
    pub trigger: Trigger,
}

impl Interrupt {
    /// Input `input` of UIC0.
    pub const fn uic0(input: u8, trigger: Trigger) -> Self {
        Interrupt {
            controller: Controller::Uic0,
            input,
            trigger,
        }
    }

    /// Input `input` of UIC1.
    pub const fn uic1(input: u8, trigger: Trigger) -> Self {
        Interrupt {
            controller: Controller::Uic1,
            input,
            trigger,
        }
    }
}

/// Clock frequencies in hertz, and the register values that give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The oscillator that feeds the PLL.
    pub sysclk_hz: u32,
    /// The core.
    pub cpu_hz: u32,
    /// The time base and the decrementer.
    ///
    /// CCR1\[TCS\] is 0 at reset, which selects the core's clock, and Linux leaves it there. With
    /// TCS = 1 the chip counts an external `timer_clock_hz` instead; no kernel for this board asks
    /// for that without a boot wrapper.
    pub timebase_hz: u32,
    /// The external timer clock that CCR1\[TCS\] = 1 would select.
    pub timer_clock_hz: u32,
    /// The processor local bus.
    pub plb_hz: u32,
    /// The on-chip peripheral bus.
    pub opb_hz: u32,
    /// The external bus.
    pub ebc_hz: u32,
    /// The UARTs' external serial clock; 115200 baud is a divisor of 6.
    pub uart_hz: u32,
    /// What CPR0 holds for the PLL to give these frequencies.
    pub cpr0: Cpr0Values,
    /// SDR0_UART0 to SDR0_UART3: the external serial clock is selected.
    pub sdr0_uart: u32,
}

/// Values of the clock registers behind CPR0, by the manual's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpr0Values {
    /// CPR0_PLLC, index 0x040.
    pub pllc: u32,
    /// CPR0_PLLD, index 0x060.
    pub plld: u32,
    /// CPR0_PRIMAD, index 0x080.
    pub primad: u32,
    /// CPR0_PRIMBD, index 0x0A0.
    pub primbd: u32,
    /// CPR0_OPBD, index 0x0C0.
    pub opbd: u32,
    /// CPR0_PERD, index 0x0E0.
    pub perd: u32,
}

/// An interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UicDesc {
    /// The controller's nine registers SR, SRS, ER, CR, PR, TR, MSR, VR, VCR.
    pub dcr: DcrRange,
    /// Where the controller's outputs go: non-critical, then critical. None: to the core.
    pub cascade: Option<[Interrupt; 2]>,
}

/// A 16550 serial port with byte registers at stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartDesc {
    /// The port's eight registers.
    pub mmio: MmioRange,
    /// The port's interrupt output.
    pub interrupt: Interrupt,
    /// The speed that firmware leaves programmed, in baud; 0 where it does not touch the port.
    pub current_speed: u32,
}

/// A device with one range of registers and one interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceDesc {
    /// The device's registers.
    pub mmio: MmioRange,
    /// The device's interrupt output.
    pub interrupt: Interrupt,
}

/// An Ethernet controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmacDesc {
    /// The controller's registers.
    pub mmio: MmioRange,
    /// The controller's own interrupt output.
    pub interrupt: Interrupt,
    /// The controller's wake-on-LAN interrupt output.
    pub wake: Interrupt,
    /// The MAL channels that the controller transmits from.
    pub mal_tx: [u32; 2],
    /// The MAL channel that the controller receives into.
    pub mal_rx: u32,
    /// Where the PIBS monitor keeps its MAC address, as twelve hexadecimal digits, in the boot flash.
    pub mac_string: u32,
    /// The MAC address that is there: one that is administered locally.
    pub mac: [u8; 6],
}

/// The memory access layer: the DMA engine of the Ethernet controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalDesc {
    /// MAL0's registers.
    pub dcr: DcrRange,
    /// How many transmit channels.
    pub tx_channels: u32,
    /// How many receive channels.
    pub rx_channels: u32,
    /// End of a transmit buffer.
    pub txeob: Interrupt,
    /// End of a receive buffer.
    pub rxeob: Interrupt,
    /// System error.
    pub serr: Interrupt,
    /// Transmit descriptor error.
    pub txde: Interrupt,
    /// Receive descriptor error.
    pub rxde: Interrupt,
}

/// A device on an IIC bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IicSlaveDesc {
    /// The number of the controller behind which it is.
    pub bus: u8,
    /// The device's address on the bus, 7 bits.
    pub address: u8,
}

/// A slot of the PCI bus: a device number on bus 0, whose four pins share one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciSlot {
    /// Device number (IDSEL).
    pub device: u8,
    /// The line that INTA to INTD share.
    pub interrupt: Interrupt,
}

/// The PCI host bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciDesc {
    /// CFGADDR at +0 and CFGDATA at +4, little-endian.
    pub config: MmioRange,
    /// Interrupt acknowledge on a read, special cycle on a write.
    pub iack_special: MmioRange,
    /// The PMM and PTM registers, little-endian.
    pub regs: MmioRange,
    /// Where the core sees PCI memory; the PCI address equals the core's.
    pub memory: MmioRange,
    /// Where the core sees the first megabyte of PCI memory (ISA), PCI address 0.
    pub isa_memory: MmioRange,
    /// Where the core sees PCI I/O ports 0..=0xFFFF.
    pub io: MmioRange,
    /// How much of RAM, from address 0, devices on the bus can reach, in bytes.
    pub inbound_size: u32,
    /// The slots, in order of their device numbers.
    pub slots: [PciSlot; 4],
}

/// A row of equal MMIO ranges, each with its own interrupt, that a machine may fill with virtio-mmio
/// devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSlots {
    /// First guest physical address of slot 0.
    pub base: u32,
    /// Bytes from one slot to the next, and the size of each.
    pub stride: u32,
    /// How many slots.
    pub count: u8,
    /// The UIC0 input of slot 0; slot n has the input n after it.
    pub first_input: u8,
}

impl VirtioSlots {
    /// Slot `index`, or none when there are not so many.
    pub const fn slot(&self, index: u8) -> Option<DeviceDesc> {
        if index >= self.count {
            return None;
        }
        Some(DeviceDesc {
            mmio: MmioRange::new(self.base + index as u32 * self.stride, self.stride),
            interrupt: Interrupt::uic0(self.first_input + index, Trigger::LevelHigh),
        })
    }
}

/// The register page through which a guest powers the machine off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysconDesc {
    /// The page; its registers are 32-bit and big-endian.
    pub mmio: MmioRange,
    /// Offset of the power-off register, in bytes.
    pub poweroff_offset: u32,
    /// The value that powers off when written there. The register reads as 0, because Linux writes
    /// only what differs from what it reads.
    pub poweroff_value: u32,
}

/// The whole board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Clock frequencies.
    pub clocks: Clocks,
    /// The most RAM that the SDRAM controller's four banks can hold, in bytes.
    pub max_memory: u32,

    /// UIC0.
    pub uic0: UicDesc,
    /// UIC1.
    pub uic1: UicDesc,
    /// CPR0, clocks and power-on reset: CFGADDR, CFGDATA.
    pub cpr0: DcrRange,
    /// SDR0, the system device registers: CFGADDR, CFGDATA.
    pub sdr0: DcrRange,
    /// SDRAM0, the memory controller: CFGADDR, CFGDATA.
    pub sdram0: DcrRange,
    /// EBC0, the external bus controller: CFGADDR, CFGDATA.
    pub ebc0: DcrRange,
    /// The EBC's interrupt.
    pub ebc_interrupt: Interrupt,
    /// PLB3A0_ACR, of the 3.4-bus arbiter.
    pub plb3a0: DcrRange,
    /// PLB4A0_ACR, of the first 4-bus arbiter.
    pub plb4a0: DcrRange,
    /// PLB4A1_ACR, of the second 4-bus arbiter.
    pub plb4a1: DcrRange,
    /// PLB0: BESR at +0, BEAR at +2, ACR at +3.
    pub plb0: DcrRange,
    /// DMA0, four channels.
    pub dma0: DcrRange,
    /// MAL0.
    pub mal0: MalDesc,

    /// What the OPB bridge decodes, 1:1.
    pub opb: MmioRange,
    /// The OPB bridge's interrupt.
    pub opb_interrupt: Interrupt,
    /// UART0 to UART3.
    pub uarts: [UartDesc; 4],
    /// IIC0 and IIC1.
    pub iic: [DeviceDesc; 2],
    /// The clock chip, a DS1307.
    pub rtc: IicSlaveDesc,
    /// The SPI controller.
    pub spi: DeviceDesc,
    /// GPIO0 and GPIO1, which have no interrupt of their own.
    pub gpio: [MmioRange; 2],
    /// The bridge between the EMACs and their PHYs.
    pub zmii: MmioRange,
    /// EMAC0 and EMAC1.
    pub emacs: [EmacDesc; 2],
    /// The USB OHCI host controller, whose registers are big-endian.
    pub usb_ohci: MmioRange,
    /// The OHCI controller's interrupts.
    pub usb_ohci_interrupts: [Interrupt; 2],
    /// The boot flash on the external bus.
    pub boot_flash: MmioRange,
    /// The PCI host bridge.
    pub pci: PciDesc,

    /// Windows for virtio-mmio devices. The real board has nothing there.
    pub virtio: VirtioSlots,
    /// The byte that takes reports of a kernel panic. The real board has nothing there.
    pub pvpanic: MmioRange,
    /// The power-off page. The real board has nothing there.
    pub syscon: SysconDesc,
}

impl Board {
    /// The AMCC Bamboo evaluation board with its PowerPC 440EP.
    pub const fn bamboo() -> Board {
        use Trigger::{LevelHigh, LevelLow, RisingEdge};
        Board {
            clocks: Clocks {
                sysclk_hz: 33_333_333,
                cpu_hz: 533_333_328,
                timebase_hz: 533_333_328,
                timer_clock_hz: 25_000_000,
                plb_hz: 133_333_332,
                opb_hz: 66_666_666,
                ebc_hz: 66_666_666,
                uart_hz: 11_059_200,
                cpr0: Cpr0Values {
                    pllc: 0x4100_0000,
                    plld: 0x1002_0001,
                    primad: 0x0100_0000,
                    primbd: 0x0100_0000,
                    opbd: 0x0200_0000,
                    perd: 0x0200_0000,
                },
                sdr0_uart: 0x0080_0000,
            },
            max_memory: 0x4000_0000,

            uic0: UicDesc {
                dcr: DcrRange::new(0x0C0, 9),
                cascade: None,
            },
            uic1: UicDesc {
                dcr: DcrRange::new(0x0D0, 9),
                cascade: Some([
                    Interrupt::uic0(30, LevelHigh),
                    Interrupt::uic0(31, LevelHigh),
                ]),
            },
            cpr0: DcrRange::new(0x00C, 2),
            sdr0: DcrRange::new(0x00E, 2),
            sdram0: DcrRange::new(0x010, 2),
            ebc0: DcrRange::new(0x012, 2),
            ebc_interrupt: Interrupt::uic1(5, RisingEdge),
            plb3a0: DcrRange::new(0x077, 1),
            plb4a0: DcrRange::new(0x081, 1),
            plb0: DcrRange::new(0x084, 4),
            plb4a1: DcrRange::new(0x089, 1),
            dma0: DcrRange::new(0x100, 0x27),
            mal0: MalDesc {
                dcr: DcrRange::new(0x180, 0x62),
                tx_channels: 4,
                rx_channels: 2,
                txeob: Interrupt::uic0(10, LevelHigh),
                rxeob: Interrupt::uic0(11, LevelHigh),
                serr: Interrupt::uic1(0, LevelHigh),
                txde: Interrupt::uic1(1, LevelHigh),
                rxde: Interrupt::uic1(2, LevelHigh),
            },

            opb: MmioRange::new(0x8000_0000, 0x8000_0000),
            opb_interrupt: Interrupt::uic1(7, LevelHigh),
            uarts: [
                UartDesc {
                    mmio: MmioRange::new(0xEF60_0300, 8),
                    interrupt: Interrupt::uic0(0, LevelHigh),
                    current_speed: 115_200,
                },
                UartDesc {
                    mmio: MmioRange::new(0xEF60_0400, 8),
                    interrupt: Interrupt::uic0(1, LevelHigh),
                    current_speed: 0,
                },
                UartDesc {
                    mmio: MmioRange::new(0xEF60_0500, 8),
                    interrupt: Interrupt::uic0(3, LevelHigh),
                    current_speed: 0,
                },
                UartDesc {
                    mmio: MmioRange::new(0xEF60_0600, 8),
                    interrupt: Interrupt::uic0(4, LevelHigh),
                    current_speed: 0,
                },
            ],
            iic: [
                DeviceDesc {
                    mmio: MmioRange::new(0xEF60_0700, 0x14),
                    interrupt: Interrupt::uic0(2, LevelHigh),
                },
                DeviceDesc {
                    mmio: MmioRange::new(0xEF60_0800, 0x14),
                    interrupt: Interrupt::uic0(7, LevelHigh),
                },
            ],
            rtc: IicSlaveDesc {
                bus: 0,
                address: 0x68,
            },
            spi: DeviceDesc {
                mmio: MmioRange::new(0xEF60_0900, 6),
                interrupt: Interrupt::uic0(8, LevelHigh),
            },
            gpio: [
                MmioRange::new(0xEF60_0B00, 0x48),
                MmioRange::new(0xEF60_0C00, 0x48),
            ],
            zmii: MmioRange::new(0xEF60_0D00, 0x0C),
            emacs: [
                EmacDesc {
                    mmio: MmioRange::new(0xEF60_0E00, 0x70),
                    interrupt: Interrupt::uic1(28, LevelHigh),
                    wake: Interrupt::uic1(29, LevelHigh),
                    mal_tx: [0, 1],
                    mal_rx: 0,
                    mac_string: 0xFFFC_0400,
                    mac: [0x02, 0x00, 0x44, 0x0E, 0x50, 0x00],
                },
                EmacDesc {
                    mmio: MmioRange::new(0xEF60_0F00, 0x70),
                    interrupt: Interrupt::uic1(30, LevelHigh),
                    wake: Interrupt::uic1(31, LevelHigh),
                    mal_tx: [2, 3],
                    mal_rx: 1,
                    mac_string: 0xFFFC_0500,
                    mac: [0x02, 0x00, 0x44, 0x0E, 0x50, 0x01],
                },
            ],
            usb_ohci: MmioRange::new(0xEF60_1000, 0x80),
            usb_ohci_interrupts: [
                Interrupt::uic1(8, RisingEdge),
                Interrupt::uic1(9, RisingEdge),
            ],
            boot_flash: MmioRange::new(0xFFF0_0000, 0x0010_0000),
            pci: PciDesc {
                config: MmioRange::new(0xEEC0_0000, 8),
                iack_special: MmioRange::new(0xEED0_0000, 4),
                regs: MmioRange::new(0xEF40_0000, 0x40),
                memory: MmioRange::new(0xA000_0000, 0x2000_0000),
                isa_memory: MmioRange::new(0xE000_0000, 0x0010_0000),
                io: MmioRange::new(0xE800_0000, 0x0001_0000),
                inbound_size: 0x8000_0000,
                slots: [
                    PciSlot {
                        device: 1,
                        interrupt: Interrupt::uic0(28, LevelLow),
                    },
                    PciSlot {
                        device: 2,
                        interrupt: Interrupt::uic0(27, LevelLow),
                    },
                    PciSlot {
                        device: 3,
                        interrupt: Interrupt::uic0(26, LevelLow),
                    },
                    PciSlot {
                        device: 4,
                        interrupt: Interrupt::uic0(25, LevelLow),
                    },
                ],
            },

            virtio: VirtioSlots {
                base: 0xEF70_0000,
                stride: 0x200,
                count: 10,
                first_input: 15,
            },
            pvpanic: MmioRange::new(0xEF7F_E000, 2),
            syscon: SysconDesc {
                mmio: MmioRange::new(0xEF7F_F000, 0x1000),
                poweroff_offset: 0,
                poweroff_value: 0x5555,
            },
        }
    }

    /// Every MMIO range of the board that holds registers or flash, with a name for messages.
    pub fn mmio_ranges(&self) -> Vec<(String, MmioRange)> {
        let mut all: Vec<(String, MmioRange)> = vec![
            ("spi".into(), self.spi.mmio),
            ("zmii".into(), self.zmii),
            ("usb ohci".into(), self.usb_ohci),
            ("boot flash".into(), self.boot_flash),
            ("pci config".into(), self.pci.config),
            ("pci iack".into(), self.pci.iack_special),
            ("pci local registers".into(), self.pci.regs),
            ("pci memory".into(), self.pci.memory),
            ("pci isa memory".into(), self.pci.isa_memory),
            ("pci i/o".into(), self.pci.io),
            ("pvpanic".into(), self.pvpanic),
            ("syscon".into(), self.syscon.mmio),
        ];
        let numbered = |name: &str, list: &[MmioRange]| -> Vec<(String, MmioRange)> {
            list.iter()
                .enumerate()
                .map(|(n, mmio)| (format!("{name}{n}"), *mmio))
                .collect()
        };
        all.extend(numbered("uart", &self.uarts.map(|uart| uart.mmio)));
        all.extend(numbered("iic", &self.iic.map(|iic| iic.mmio)));
        all.extend(numbered("gpio", &self.gpio));
        all.extend(numbered("emac", &self.emacs.map(|emac| emac.mmio)));
        all.extend((0..self.virtio.count).filter_map(|n| {
            self.virtio
                .slot(n)
                .map(|slot| (format!("virtio slot {n}"), slot.mmio))
        }));
        all
    }
}

impl Default for Board {
    fn default() -> Self {
        Board::bamboo()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_windows_overlap_and_the_bus_decodes_each() {
        let board = Board::bamboo();
        let ranges = board.mmio_ranges();
        for (index, (name, mmio)) in ranges.iter().enumerate() {
            assert!(
                mmio.base >= board.opb.base && mmio.last() <= board.opb.last(),
                "{name}"
            );
            for (other_name, other) in &ranges[index + 1..] {
                assert!(!mmio.overlaps(*other), "{name} and {other_name}");
            }
        }
    }

    #[test]
    fn no_two_units_share_a_dcr() {
        let b = Board::bamboo();
        let ranges = [
            b.cpr0, b.sdr0, b.sdram0, b.ebc0, b.plb3a0, b.plb4a0, b.plb0, b.plb4a1, b.uic0.dcr,
            b.uic1.dcr, b.dma0, b.mal0.dcr,
        ];
        for (index, range) in ranges.iter().enumerate() {
            assert!(range.last() <= 0x3FF);
            for other in &ranges[index + 1..] {
                assert!(!range.overlaps(*other), "{range:x?} and {other:x?}");
            }
        }
    }

    #[test]
    fn no_two_devices_share_an_interrupt_input() {
        let b = Board::bamboo();
        let mut wires = vec![
            b.ebc_interrupt,
            b.opb_interrupt,
            b.spi.interrupt,
            b.mal0.txeob,
            b.mal0.rxeob,
            b.mal0.serr,
            b.mal0.txde,
            b.mal0.rxde,
        ];
        wires.extend(b.uic1.cascade.expect("UIC1 is cascaded"));
        wires.extend(b.uarts.map(|uart| uart.interrupt));
        wires.extend(b.iic.map(|iic| iic.interrupt));
        wires.extend(b.emacs.iter().flat_map(|emac| [emac.interrupt, emac.wake]));
        wires.extend(b.usb_ohci_interrupts);
        wires.extend(b.pci.slots.map(|slot| slot.interrupt));
        wires.extend(
            (0..b.virtio.count)
                .filter_map(|n| b.virtio.slot(n))
                .map(|s| s.interrupt),
        );
        let mut inputs: Vec<_> = wires
            .iter()
            .map(|wire| (wire.controller, wire.input))
            .collect();
        assert!(inputs.iter().all(|(_, input)| *input < 32));
        let count = inputs.len();
        inputs.sort_unstable();
        inputs.dedup();
        assert_eq!(inputs.len(), count);
    }

    #[test]
    fn there_is_no_virtio_slot_past_the_last() {
        let slots = Board::bamboo().virtio;
        let last = slots.slot(9).expect("ten slots");
        assert_eq!((last.mmio.base, last.interrupt.input), (0xEF70_1200, 24));
        assert_eq!(slots.slot(10), None);
        assert_eq!(slots.slot(255), None);
    }

    /// A field of a clock register, where 0 stands for the largest divisor.
    fn divisor(register: u32, shift: u32, bits: u32) -> u32 {
        let field = (register >> shift) & ((1 << bits) - 1);
        if field == 0 { 1 << bits } else { field }
    }

    #[test]
    fn the_clock_registers_give_the_frequencies() {
        let clocks = Board::bamboo().clocks;
        let cpr = clocks.cpr0;
        assert_eq!(cpr.pllc & 0x4000_0000, 0x4000_0000, "the PLL is engaged");
        assert_eq!((cpr.pllc >> 24) & 7, 1, "and locked to the core's clock");
        let fwdva = divisor(cpr.plld, 16, 4);
        let fwdvb = divisor(cpr.plld, 8, 3);
        let pradv = divisor(cpr.primad, 24, 3);
        let prbdv = divisor(cpr.primbd, 24, 3);
        let vco = clocks.sysclk_hz * fwdva * pradv * divisor(cpr.plld, 24, 5);
        assert_eq!(vco / fwdva / pradv, clocks.cpu_hz);
        let plb = vco / fwdvb / prbdv;
        assert_eq!(plb, clocks.plb_hz);
        assert_eq!(plb / divisor(cpr.opbd, 24, 2), clocks.opb_hz);
        assert_eq!(plb / divisor(cpr.perd, 24, 2), clocks.ebc_hz);
        assert_eq!(clocks.timebase_hz, clocks.cpu_hz);
        assert_eq!(
            clocks.sdr0_uart & 0x0080_0000,
            0x0080_0000,
            "external serial clock"
        );
        assert_eq!(clocks.uart_hz / 16 / 6, 115_200);
    }
}
