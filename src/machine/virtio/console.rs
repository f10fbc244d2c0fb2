//! A virtio console's other end: a hub, as a serial port has one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::console::{Console, Sink, Turns, WindowSize};

use super::VirtioBox;
use crate::host::console::{ConsoleHub, Port};

/// Bytes of the buffers in which Linux prints its own messages on a virtio console (`N_OUTBUF` of
/// its `hvc_console.c`): all of a message but its end comes in full ones. What programs print comes
/// in buffers of what each write had.
const KERNEL_BUFFER: usize = 16;

/// The name by which the agent finds its port.
const AGENT_PORT: &str = "ppckvm.agent";

/// The hub as the device's other end. The hub keeps the device, so this does not keep the hub.
struct HubEnd {
    hub: Weak<ConsoleHub>,
    /// The last buffer was a full one of the kernel's.
    was_full: AtomicBool,
}

impl HubEnd {
    fn new(hub: &Arc<ConsoleHub>) -> Self {
        HubEnd {
            hub: Arc::downgrade(hub),
            was_full: AtomicBool::new(false),
        }
    }
}

impl Sink for HubEnd {
    fn send(&self, bytes: &[u8]) {
        let is_full = bytes.len() == KERNEL_BUFFER;
        let follows = self.was_full.swap(is_full, Ordering::Relaxed);
        if let Some(hub) = self.hub.upgrade() {
            hub.set_polled(is_full || follows && bytes.len() < KERNEL_BUFFER);
            hub.transmit(bytes);
        }
    }

    fn has_room(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.feed();
        }
    }
}

/// The device as the hub's port.
struct DevicePort(Console<GuestMemory>);

impl Port for DevicePort {
    fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
        self.0.fill(source);
    }

    fn set_size(&self, size: WindowSize) {
        self.0.set_size(size);
    }
}

/// The named port of the guest's agent.
pub(crate) fn agent_port(hub: &Arc<ConsoleHub>) -> VirtioBox {
    let port = Console::port(Arc::new(HubEnd::new(hub)), AGENT_PORT);
    hub.connect(Arc::new(DevicePort(port.clone())));
    Box::new(port)
}

/// A device between the guest and a hub; the machine's consoles share `turns`.
pub(crate) fn device(hub: &Arc<ConsoleHub>, turns: &Turns<GuestMemory>) -> VirtioBox {
    let console = Console::new(Arc::new(HubEnd::new(hub)), turns.clone());
    hub.connect(Arc::new(DevicePort(console.clone())));
    Box::new(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::control::Control;
    use crate::vm::outcome::{OnPanic, Outcome};
    use crate::vm::port;
    use crate::vm::watch::Watch;

    /// What of a text that comes in buffers of so many bytes is taken for the kernel's: a panic.
    fn panic_in(sizes: &[usize]) -> Option<Outcome> {
        let control = Arc::new(Control::default());
        let watch = Watch::new(control.clone(), OnPanic::Continue);
        let hub = ConsoleHub::new(
            Arc::new(port::Port::new(control, watch.clone())),
            None,
            64 << 10,
        );
        let end = HubEnd::new(&hub);
        let mut text: &[u8] = b"[    0.512345] Kernel panic - not syncing: VFS: no root\r\n";
        for size in sizes.iter().cycle() {
            let (piece, rest) = text.split_at(text.len().min(*size));
            if piece.is_empty() {
                break;
            }
            end.send(piece);
            text = rest;
        }
        watch.panic()
    }

    #[test]
    fn a_panic_is_the_kernels_where_it_comes_as_the_kernel_prints() {
        let message = Some("VFS: no root".to_owned());
        assert_eq!(panic_in(&[16]), Some(Outcome::KernelPanic { message }));
        // A program's write, a line editor's echo, and what a full driver's queue cut.
        for sizes in [&[4096][..], &[1], &[20, 16], &[15], &[17]] {
            assert_eq!(panic_in(sizes), None, "{sizes:?}");
        }
    }
}
