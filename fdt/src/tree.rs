//! The board's device tree, generated: one function per node.
//!
//! The nodes are those of Linux's own source for the board, with all clocks filled in, because
//! there is no firmware here to do it. Only hardware that the machine has is described: a driver
//! that finds a node talks to its device at once, and one for Ethernet would search for a PHY.
//! So the Ethernet controllers with their MAL and ZMII, and the USB host, are left out unless
//! [`TreeOptions`] asks for them. The GPIO controllers and the clock chip are added; Linux's source
//! has them only for other boards with this processor.
//!
//! Linux probes devices of this board only below the buses that its platform code names, so nodes
//! that the real board lacks (virtio, panic reports, power-off) stand under `/plb/opb`; directly
//! under `/` they would be ignored.

use crate::blob::{Node, Tree};
use crate::board::{Board, COMPATIBLE, DcrRange, DeviceDesc, Interrupt, MmioRange};
use crate::extra::{self, ExtraNodeError};
use crate::phandle::Phandle;
use crate::writer::TooLarge;
use vm_fdt::FdtWriter;

/// The facts in which one machine's tree differs from another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// RAM from address 0, in bytes.
    pub memory_bytes: u32,
    /// The kernel's command line; empty leaves the property out.
    pub bootargs: String,
    /// First address of the initrd and the first one after it.
    pub initrd: Option<(u32, u32)>,
    /// Number of the UART that is the console (0..=3).
    pub stdout: u8,
    /// The virtio-mmio slots that hold a device, in any order, each at most once.
    pub virtio: Vec<u8>,
    /// Whether the power-off page is there.
    pub poweroff: bool,
    /// Whether the PCI host bridge is there.
    pub pci: bool,
    /// Whether the IIC controllers are there, and the clock chip.
    pub iic: bool,
    /// Whether the GPIO controllers are there.
    pub gpio: bool,
    /// Whether reports of a kernel panic are taken.
    pub pvpanic: bool,
    /// Whether the Ethernet controllers are there, and their MAC addresses.
    pub ethernet: Option<[[u8; 6]; 2]>,
    /// Whether the USB OHCI host controller is there.
    pub usb: bool,
    /// Devices that the board does not have, which come under `/plb/opb`; see
    /// [`crate::extra::device_node`], and [`Board::FREE_MMIO`] for where they may be.
    pub extra_nodes: Vec<Node>,
}

impl Default for TreeOptions {
    /// 256 MiB, console on UART0, power-off, panic reports, IIC, GPIO and PCI, nothing else that is
    /// optional.
    fn default() -> Self {
        TreeOptions {
            memory_bytes: 256 << 20,
            bootargs: String::new(),
            initrd: None,
            stdout: 0,
            virtio: Vec::new(),
            poweroff: true,
            pci: true,
            iic: true,
            gpio: true,
            pvpanic: true,
            ethernet: None,
            usb: false,
            extra_nodes: Vec::new(),
        }
    }
}

/// Options from which no tree can be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A slot that the board does not have, or has only once.
    #[error("virtio slot {slot} is used twice or does not exist; the board has slots 0 to {last}")]
    VirtioSlot {
        /// The slot that was asked for.
        slot: u8,
        /// The last one that there is.
        last: u8,
    },
    /// A console on a UART that the board does not have.
    #[error("the console is uart {0}, and the board has uart 0 to 3; choose one of them")]
    Stdout(u8),
    /// An initrd that ends before it starts or outside RAM.
    #[error("the initrd at {start:#x} to {end:#x} is not inside the {memory:#x} bytes of ram")]
    Initrd {
        /// First address.
        start: u32,
        /// First address after it.
        end: u32,
        /// RAM size in bytes.
        memory: u32,
    },
    /// The boot arguments hold a NUL.
    #[error("the boot arguments hold a NUL byte at {0}; remove it")]
    Bootargs(usize),
    /// A node of the embedder's would spoil the tree.
    #[error(transparent)]
    ExtraNode(#[from] ExtraNodeError),
    /// The tree is larger than the format allows.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The writer refused.
    #[error("the device tree cannot be written: {0}")]
    Writer(#[from] vm_fdt::Error),
}

/// Writes the board's tree as a blob of version 17.
///
/// # Errors
/// When the options ask for what the board or the format does not have.
pub fn generate(board: &Board, options: &TreeOptions) -> Result<Vec<u8>, TreeError> {
    check(board, options)?;
    let mut tree = Generator {
        board,
        options,
        fdt: FdtWriter::new()?,
    };
    tree.root()?;
    let blob = tree.fdt.finish()?;
    if options.extra_nodes.is_empty() {
        return Ok(blob);
    }
    let mut tree = Tree::parse(&blob).expect("it was written just now");
    extra::add(&mut tree, &options.extra_nodes)?;
    Ok(tree.to_blob()?)
}

fn check(board: &Board, options: &TreeOptions) -> Result<(), TreeError> {
    for (index, slot) in options.virtio.iter().copied().enumerate() {
        if board.virtio.slot(slot).is_none() || options.virtio[..index].contains(&slot) {
            return Err(TreeError::VirtioSlot {
                slot,
                last: board.virtio.count.saturating_sub(1),
            });
        }
    }
    if usize::from(options.stdout) >= board.uarts.len() {
        return Err(TreeError::Stdout(options.stdout));
    }
    let memory = options.memory_bytes;
    if let Some((start, end)) = options
        .initrd
        .filter(|(start, end)| start > end || *end > memory)
    {
        return Err(TreeError::Initrd { start, end, memory });
    }
    match options.bootargs.bytes().position(|byte| byte == 0) {
        Some(position) => Err(TreeError::Bootargs(position)),
        None => Ok(()),
    }
}

/// The options and the board on one side, the blob on the other.
struct Generator<'a> {
    board: &'a Board,
    options: &'a TreeOptions,
    fdt: FdtWriter,
}

type Written = Result<(), vm_fdt::Error>;

/// Properties that many nodes have.
impl Generator<'_> {
    fn node(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Written) -> Written {
        let node = self.fdt.begin_node(name)?;
        body(self)?;
        self.fdt.end_node(node)
    }

    fn device(
        &mut self,
        name: &str,
        mmio: MmioRange,
        body: impl FnOnce(&mut Self) -> Written,
    ) -> Written {
        self.node(&unit_name(name, mmio), |t| {
            t.fdt.property_array_u32("reg", &[mmio.base, mmio.size])?;
            body(t)
        })
    }

    fn string(&mut self, name: &str, value: &str) -> Written {
        self.fdt.property_string(name, value)
    }

    fn cell(&mut self, name: &str, value: u32) -> Written {
        self.fdt.property_u32(name, value)
    }

    fn compatible(&mut self, names: &[&str]) -> Written {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.fdt.property_string_list("compatible", names)
    }

    fn phandle(&mut self, phandle: Phandle) -> Written {
        self.fdt.property_phandle(phandle as u32)
    }

    fn dcr_reg(&mut self, range: DcrRange) -> Written {
        self.fdt
            .property_array_u32("dcr-reg", &[range.base.into(), range.count.into()])
    }

    fn bus_cells(&mut self, address: u32, size: u32) -> Written {
        self.cell("#address-cells", address)?;
        self.cell("#size-cells", size)
    }

    /// Interrupts that all go to the controller of the first.
    fn interrupts(&mut self, wires: &[Interrupt]) -> Written {
        let Some(first) = wires.first() else {
            return Ok(());
        };
        debug_assert!(wires.iter().all(|wire| wire.controller == first.controller));
        let cells: Vec<u32> = wires
            .iter()
            .flat_map(|wire| [wire.input.into(), wire.trigger.flags()])
            .collect();
        self.cell("interrupt-parent", Phandle::from(first.controller) as u32)?;
        self.fdt.property_array_u32("interrupts", &cells)
    }
}

fn unit_name(name: &str, mmio: MmioRange) -> String {
    format!("{name}@{:x}", mmio.base)
}

/// The parent, input and trigger cells that end an entry of an interrupt map.
fn mapped(wire: Interrupt) -> [u32; 3] {
    [
        Phandle::from(wire.controller) as u32,
        wire.input.into(),
        wire.trigger.flags(),
    ]
}

/// The nodes, from the root down, in the order in which they are written.
impl Generator<'_> {
    fn root(&mut self) -> Written {
        self.node("", |t| {
            t.bus_cells(2, 1)?;
            t.string("model", COMPATIBLE)?;
            t.compatible(&[COMPATIBLE])?;
            t.cell("dcr-parent", Phandle::Cpu as u32)?;
            t.aliases()?;
            t.cpus()?;
            t.memory()?;
            t.uic(0)?;
            t.uic(1)?;
            t.dcr_device("sdr", "ibm,sdr-440ep", t.board.sdr0)?;
            t.dcr_device("cpr", "ibm,cpr-440ep", t.board.cpr0)?;
            t.plb()?;
            t.chosen()
        })
    }

    fn aliases(&mut self) -> Written {
        self.node("aliases", |t| {
            if t.options.ethernet.is_some() {
                for (index, emac) in t.board.emacs.iter().enumerate() {
                    let path = format!("/plb/opb/{}", unit_name("ethernet", emac.mmio));
                    t.string(&format!("ethernet{index}"), &path)?;
                }
            }
            for index in 0..t.board.uarts.len() {
                t.string(&format!("serial{index}"), &t.uart_path(index))?;
            }
            Ok(())
        })
    }

    fn cpus(&mut self) -> Written {
        self.node("cpus", |t| {
            t.bus_cells(1, 0)?;
            t.node("cpu@0", |t| {
                t.string("device_type", "cpu")?;
                t.string("model", "PowerPC,440EP")?;
                t.cell("reg", 0)?;
                t.cell("clock-frequency", t.board.clocks.cpu_hz)?;
                t.cell("timebase-frequency", t.board.clocks.timebase_hz)?;
                t.cell("i-cache-line-size", 32)?;
                t.cell("d-cache-line-size", 32)?;
                t.cell("i-cache-size", 32 << 10)?;
                t.cell("d-cache-size", 32 << 10)?;
                t.fdt.property_null("dcr-controller")?;
                t.string("dcr-access-method", "native")?;
                t.phandle(Phandle::Cpu)
            })
        })
    }

    /// The name has no unit address: boot wrappers look for exactly `/memory`.
    fn memory(&mut self) -> Written {
        self.node("memory", |t| {
            t.string("device_type", "memory")?;
            t.fdt
                .property_array_u32("reg", &[0, 0, t.options.memory_bytes])
        })
    }

    fn uic(&mut self, index: u32) -> Written {
        let (uic, phandle) = match index {
            0 => (self.board.uic0, Phandle::Uic0),
            _ => (self.board.uic1, Phandle::Uic1),
        };
        self.node(&format!("interrupt-controller{index}"), |t| {
            t.compatible(&["ibm,uic-440ep", "ibm,uic"])?;
            t.fdt.property_null("interrupt-controller")?;
            t.cell("cell-index", index)?;
            t.dcr_reg(uic.dcr)?;
            t.bus_cells(0, 0)?;
            t.cell("#interrupt-cells", 2)?;
            if let Some(cascade) = uic.cascade {
                t.interrupts(&cascade)?;
            }
            t.phandle(phandle)
        })
    }

    fn dcr_device(&mut self, name: &str, compatible: &str, range: DcrRange) -> Written {
        self.node(name, |t| {
            t.compatible(&[compatible])?;
            t.dcr_reg(range)
        })
    }

    fn plb(&mut self) -> Written {
        self.node("plb", |t| {
            t.compatible(&["ibm,plb-440ep", "ibm,plb-440gp", "ibm,plb4"])?;
            t.bus_cells(2, 1)?;
            t.fdt.property_null("ranges")?;
            t.cell("clock-frequency", t.board.clocks.plb_hz)?;
            t.sdram()?;
            t.dma()?;
            if t.options.ethernet.is_some() {
                t.mal()?;
            }
            t.opb()?;
            if t.options.pci {
                t.pci()?;
            }
            Ok(())
        })
    }

    fn sdram(&mut self) -> Written {
        self.node("sdram", |t| {
            t.compatible(&["ibm,sdram-440ep", "ibm,sdram-405gp"])?;
            t.dcr_reg(t.board.sdram0)
        })
    }

    fn dma(&mut self) -> Written {
        self.node("dma", |t| {
            t.compatible(&["ibm,dma-440ep", "ibm,dma-440gp"])?;
            t.dcr_reg(t.board.dma0)
        })
    }

    /// The MAL's five interrupts go to two controllers, so it is its own parent and maps each.
    fn mal(&mut self) -> Written {
        self.node("mcmal", |t| {
            let mal = t.board.mal0;
            t.compatible(&["ibm,mcmal-440ep", "ibm,mcmal-440gp", "ibm,mcmal"])?;
            t.dcr_reg(mal.dcr)?;
            t.cell("num-tx-chans", mal.tx_channels)?;
            t.cell("num-rx-chans", mal.rx_channels)?;
            t.cell("interrupt-parent", Phandle::Mal0 as u32)?;
            t.fdt.property_array_u32("interrupts", &[0, 1, 2, 3, 4])?;
            t.cell("#interrupt-cells", 1)?;
            t.bus_cells(0, 0)?;
            let wires = [mal.txeob, mal.rxeob, mal.serr, mal.txde, mal.rxde];
            let map = (0..).zip(wires).flat_map(|(number, wire)| {
                let [parent, input, trigger] = mapped(wire);
                [number, parent, input, trigger]
            });
            t.fdt
                .property_array_u32("interrupt-map", &map.collect::<Vec<u32>>())?;
            t.phandle(Phandle::Mal0)
        })
    }

    fn opb(&mut self) -> Written {
        self.node("opb", |t| {
            let MmioRange { base, size } = t.board.opb;
            t.compatible(&["ibm,opb-440ep", "ibm,opb-440gp", "ibm,opb"])?;
            t.bus_cells(1, 1)?;
            // The first entry lets children be described by their offset in the upper half.
            t.fdt
                .property_array_u32("ranges", &[0, 0, 0, base, base, 0, base, size])?;
            t.interrupts(&[t.board.opb_interrupt])?;
            t.cell("clock-frequency", t.board.clocks.opb_hz)?;
            t.ebc()?;
            for index in 0..t.board.uarts.len() {
                t.uart(index)?;
            }
            if t.options.iic {
                for index in 0..t.board.iic.len() {
                    t.iic(index)?;
                }
            }
            if t.options.gpio {
                for mmio in t.board.gpio {
                    t.gpio(mmio)?;
                }
            }
            if let Some(addresses) = t.options.ethernet {
                t.zmii()?;
                for (index, address) in addresses.iter().enumerate() {
                    t.emac(index, address)?;
                }
            }
            if t.options.usb {
                t.usb()?;
            }
            t.virtio()?;
            if t.options.pvpanic {
                t.device("pvpanic", t.board.pvpanic, |t| {
                    t.compatible(&["qemu,pvpanic-mmio"])
                })?;
            }
            if t.options.poweroff {
                t.syscon()?;
                t.poweroff()?;
            }
            Ok(())
        })
    }

    fn ebc(&mut self) -> Written {
        self.node("ebc", |t| {
            t.compatible(&["ibm,ebc-440ep", "ibm,ebc-440gp", "ibm,ebc"])?;
            t.dcr_reg(t.board.ebc0)?;
            t.bus_cells(2, 1)?;
            t.cell("clock-frequency", t.board.clocks.ebc_hz)?;
            t.interrupts(&[t.board.ebc_interrupt])
        })
    }

    fn uart_path(&self, index: usize) -> String {
        format!(
            "/plb/opb/{}",
            unit_name("serial", self.board.uarts[index].mmio)
        )
    }

    fn uart(&mut self, index: usize) -> Written {
        let uart = self.board.uarts[index];
        self.device("serial", uart.mmio, |t| {
            t.string("device_type", "serial")?;
            t.compatible(&["ns16550"])?;
            // Boot wrappers print through it before they have a translation of their own.
            t.cell("virtual-reg", uart.mmio.base)?;
            t.cell("clock-frequency", t.board.clocks.uart_hz)?;
            t.cell("current-speed", uart.current_speed)?;
            t.interrupts(&[uart.interrupt])
        })
    }

    fn iic(&mut self, index: usize) -> Written {
        let DeviceDesc { mmio, interrupt } = self.board.iic[index];
        self.device("i2c", mmio, |t| {
            t.compatible(&["ibm,iic-440ep", "ibm,iic-440gp", "ibm,iic"])?;
            t.bus_cells(1, 0)?;
            t.interrupts(&[interrupt])?;
            let rtc = t.board.rtc;
            if usize::from(rtc.bus) == index {
                t.node(&format!("rtc@{:x}", rtc.address), |t| {
                    t.compatible(&["dallas,ds1307"])?;
                    t.cell("reg", rtc.address.into())
                })?;
            }
            Ok(())
        })
    }

    fn gpio(&mut self, mmio: MmioRange) -> Written {
        self.device("gpio", mmio, |t| {
            t.compatible(&["ibm,ppc4xx-gpio"])?;
            t.cell("#gpio-cells", 2)?;
            t.fdt.property_null("gpio-controller")
        })
    }

    fn zmii(&mut self) -> Written {
        self.device("emac-zmii", self.board.zmii, |t| {
            t.compatible(&["ibm,zmii-440ep", "ibm,zmii-440gp", "ibm,zmii"])?;
            t.phandle(Phandle::Zmii0)
        })
    }

    fn emac(&mut self, index: usize, address: &[u8; 6]) -> Written {
        let emac = self.board.emacs[index];
        // Two controllers: the conversion cannot lose anything.
        let channel = index as u32;
        self.device("ethernet", emac.mmio, |t| {
            t.string("device_type", "network")?;
            t.compatible(&["ibm,emac-440ep", "ibm,emac-440gp", "ibm,emac"])?;
            t.interrupts(&[emac.interrupt, emac.wake])?;
            t.fdt.property("local-mac-address", address)?;
            t.cell("mal-device", Phandle::Mal0 as u32)?;
            t.fdt.property_array_u32("mal-tx-channel", &emac.mal_tx)?;
            t.cell("mal-rx-channel", emac.mal_rx)?;
            t.cell("cell-index", channel)?;
            t.cell("max-frame-size", 1500)?;
            t.cell("rx-fifo-size", 4096)?;
            t.cell("tx-fifo-size", 2048)?;
            t.string("phy-mode", "rmii")?;
            t.cell("phy-map", 0)?;
            t.cell("zmii-device", Phandle::Zmii0 as u32)?;
            t.cell("zmii-channel", channel)
        })
    }

    fn usb(&mut self) -> Written {
        self.device("usb", self.board.usb_ohci, |t| {
            t.compatible(&["ohci-be"])?;
            t.interrupts(&t.board.usb_ohci_interrupts)
        })
    }

    fn virtio(&mut self) -> Written {
        // By address, whatever the order of the options: Linux numbers devices as it finds them.
        for index in 0..self.board.virtio.count {
            let slot = self
                .board
                .virtio
                .slot(index)
                .filter(|_| self.options.virtio.contains(&index));
            if let Some(slot) = slot {
                self.device("virtio", slot.mmio, |t| {
                    t.compatible(&["virtio,mmio"])?;
                    t.interrupts(&[slot.interrupt])
                })?;
            }
        }
        Ok(())
    }

    fn syscon(&mut self) -> Written {
        self.device("syscon", self.board.syscon.mmio, |t| {
            t.compatible(&["syscon"])?;
            // Without it Linux takes the registers of a syscon as little-endian.
            t.fdt.property_null("big-endian")?;
            t.phandle(Phandle::Syscon)
        })
    }

    fn poweroff(&mut self) -> Written {
        self.node("poweroff", |t| {
            t.compatible(&["syscon-poweroff"])?;
            t.cell("regmap", Phandle::Syscon as u32)?;
            t.cell("offset", t.board.syscon.poweroff_offset)?;
            t.cell("value", t.board.syscon.poweroff_value)
        })
    }

    fn pci(&mut self) -> Written {
        /// Space codes of a PCI address's first cell: memory, prefetchable memory, I/O.
        const MEMORY: u32 = 0x0200_0000;
        const PREFETCHABLE: u32 = 0x4200_0000;
        const IO: u32 = 0x0100_0000;
        let pci = self.board.pci;
        // The unit address is the one that Linux and QEMU use, which is no register's: scripts
        // know this path.
        self.node("pci@ec000000", |t| {
            t.string("device_type", "pci")?;
            t.cell("#interrupt-cells", 1)?;
            t.bus_cells(3, 2)?;
            t.compatible(&["ibm,plb440ep-pci", "ibm,plb-pci"])?;
            t.fdt.property_null("primary")?;
            let ranges = [pci.config, pci.iack_special, pci.iack_special, pci.regs];
            let reg = ranges.map(|mmio| [0, mmio.base, mmio.size]);
            t.fdt.property_array_u32("reg", reg.as_flattened())?;
            // PCI address (three cells), the core's address (two), size (two).
            let ranges = [
                [
                    MEMORY,
                    0,
                    pci.memory.base,
                    0,
                    pci.memory.base,
                    0,
                    pci.memory.size,
                ],
                [MEMORY, 0, 0, 0, pci.isa_memory.base, 0, pci.isa_memory.size],
                [IO, 0, 0, 0, pci.io.base, 0, pci.io.size],
            ];
            t.fdt.property_array_u32("ranges", ranges.as_flattened())?;
            let inbound = [PREFETCHABLE, 0, 0, 0, 0, 0, pci.inbound_size];
            t.fdt.property_array_u32("dma-ranges", &inbound)?;
            // The device number alone decides: the four pins of a slot share its line.
            t.fdt
                .property_array_u32("interrupt-map-mask", &[0xF800, 0, 0, 0])?;
            let map = pci.slots.map(|slot| {
                let [parent, input, trigger] = mapped(slot.interrupt);
                [
                    u32::from(slot.device) << 11,
                    0,
                    0,
                    0,
                    parent,
                    input,
                    trigger,
                ]
            });
            t.fdt
                .property_array_u32("interrupt-map", map.as_flattened())
        })
    }

    fn chosen(&mut self) -> Written {
        self.node("chosen", |t| {
            let console = t.uart_path(t.options.stdout.into());
            // Linux reads the first; boot wrappers and older kernels read the second.
            t.string("stdout-path", &console)?;
            t.string("linux,stdout-path", &console)?;
            if !t.options.bootargs.is_empty() {
                t.string("bootargs", &t.options.bootargs)?;
            }
            if let Some((start, end)) = t.options.initrd {
                t.cell("linux,initrd-start", start)?;
                t.cell("linux,initrd-end", end)?;
            }
            Ok(())
        })
    }
}
