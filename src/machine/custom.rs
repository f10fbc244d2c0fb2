//! What an embedder adds that cannot be written down as options: devices, files, closures.

use std::collections::BTreeMap;

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::{DcrDevice, IrqLine, MmioDevice};
use ppckvm_fdt::Node;
use ppckvm_fdt::board::{DcrRange, Interrupt, MmioRange};

use crate::host::sandbox::Sandbox;
use crate::host::serial::{Console, Serial};
use crate::machine::spec::place::Place;

/// The wires of a device of the embedder's.
///
/// ```
/// use ppckvm::vm_memory::{Bytes, GuestAddress};
/// # fn f(wiring: ppckvm::Wiring) -> Result<(), ppckvm::vm_memory::GuestMemoryError> {
/// let length: [u8; 4] = wiring.memory.read_obj(GuestAddress(0x1000))?;
/// # Ok(()) }
/// ```
pub struct Wiring {
    /// The wire to the interrupt input that was asked for; it ends nowhere when none was.
    pub irq: IrqLine,
    /// Guest memory, for a device that reads or writes it.
    pub memory: GuestMemory,
}

pub(crate) type MakeMmio = Box<dyn FnOnce(Wiring) -> Box<dyn MmioDevice> + Send>;
pub(crate) type MakeDcr = Box<dyn FnOnce(Wiring) -> Box<dyn DcrDevice> + Send>;

/// A device of the embedder's and its place.
pub(crate) struct CustomDevice<Place, Make> {
    pub place: Place,
    pub name: String,
    pub interrupt: Option<Interrupt>,
    pub make: Make,
}

/// A virtio device of the embedder's.
pub(crate) struct CustomVirtio {
    /// How many of the spec's devices come before it.
    pub after: usize,
    pub name: String,
    pub place: Place,
    pub device: Box<dyn VirtioDevice<GuestMemory>>,
}

/// Consoles with files of their own, by the number of the port.
#[derive(Default)]
pub(crate) struct ConsoleFiles(BTreeMap<usize, Console>);

impl ConsoleFiles {
    /// Keeps a console's files, if it has any, for a port.
    pub fn keep(&mut self, port: usize, console: Console) {
        self.0.remove(&port);
        if console.has_files() {
            self.0.insert(port, console);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The consoles of ports that lead to `destinations`, or to the files that were kept.
    pub fn consoles(mut self, destinations: impl IntoIterator<Item = Serial>) -> Vec<Console> {
        let console = |(port, destination)| match self.0.remove(&port) {
            Some(console) => console,
            None => Console::serial(destination),
        };
        destinations.into_iter().enumerate().map(console).collect()
    }
}

/// All that is added to a machine beside its [`crate::Spec`].
#[derive(Default)]
pub(crate) struct Additions {
    /// Files of UART0, UART1 and so on.
    pub serial: ConsoleFiles,
    /// Files of the virtio consoles.
    pub virtio_consoles: ConsoleFiles,
    pub mmio: Vec<CustomDevice<MmioRange, MakeMmio>>,
    pub dcr: Vec<CustomDevice<DcrRange, MakeDcr>>,
    pub virtio: Vec<CustomVirtio>,
    /// Nodes of the generated device tree.
    pub nodes: Vec<Node>,
    /// What the machine's threads give up.
    pub sandbox: Sandbox,
    /// The machine has the host's ends of an agent's channels.
    pub agent: bool,
    /// The serial port that is one of them, unless the user has all that there are.
    pub agent_uart: Option<usize>,
}
