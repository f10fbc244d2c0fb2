//! What an embedder adds that cannot be written down as options: devices, files, closures.

use ppckvm_api::GuestMemory;
use ppckvm_devices::{DcrDevice, IrqLine, MmioDevice};
use ppckvm_fdt::board::{DcrRange, Interrupt, Window};

use crate::host::serial::Console;
use crate::machine::virtio::Attachment;

/// What a device of the embedder's is wired to.
pub struct Wiring {
    /// The wire to the input that was asked for; it ends nowhere when none was.
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

/// All that is added to a machine beside its options.
#[derive(Default)]
pub(crate) struct Additions {
    /// Consoles of UART0, UART1 and so on; ports beyond the list are unconnected.
    pub consoles: Vec<Console>,
    /// Consoles of the virtio consoles, in the order of attachment.
    pub virtio_consoles: Vec<Console>,
    pub mmio: Vec<CustomDevice<Window, MakeMmio>>,
    pub dcr: Vec<CustomDevice<DcrRange, MakeDcr>>,
    /// Virtio devices in the order of their slots.
    pub virtio: Vec<Attachment>,
}
