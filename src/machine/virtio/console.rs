//! `--console`: the virtio console's other end, a hub as a serial port has it.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::console::{Console, Sink, Turns, WindowSize};

use super::Device;
use crate::host::console::{Hub, Port};
use crate::host::keys::{Key, OptionError, Options};
use crate::host::place::Place;
use crate::host::serial::Serial;

/// A virtio console: where it leads, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleOption {
    /// Where it leads.
    pub destination: Serial,
    /// How it is attached.
    pub place: Place,
}

impl FromStr for ConsoleOption {
    type Err = OptionError;

    /// Reads `DEST[,bus=mmio|pci][,legacy]`, DEST as for a serial port; a comma in it is written
    /// twice.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        const FLAGS: [&str; 3] = ["stdio", "null", "pty"];
        const VALUES: [&str; 3] = ["file", "unix", "tcp"];
        let mut keys: Vec<Key> = FLAGS.map(Key::Flag).into();
        keys.extend(VALUES.map(Key::Value));
        keys.extend(Place::KEYS);
        let options = Options::parse(text, &keys)?;
        let flags = FLAGS.iter().filter(|name| options.flag(name));
        let values = VALUES.iter().filter_map(|name| {
            let value = options.value(name)?;
            Some(format!("{name}={value}"))
        });
        let mut given: Vec<String> = flags.map(|name| (*name).to_owned()).collect();
        given.extend(values);
        let [destination] = given.as_slice() else {
            return Err(OptionError::List(
                "a console leads to one destination; write stdio, null, file=PATH, pty, unix=PATH \
                 or tcp=HOST:PORT"
                    .into(),
            ));
        };
        let destination = destination.parse();
        Ok(ConsoleOption {
            destination: destination.map_err(|error| OptionError::List(format!("{error}")))?,
            place: Place::from_options(&options)?,
        })
    }
}

/// Bytes of the buffers in which Linux prints its own messages on a virtio console (`N_OUTBUF` of
/// its `hvc_console.c`): all of a message but its end comes in full ones. What programs print comes
/// in buffers of what each write had.
const KERNEL_BUFFER: usize = 16;

/// The hub as the device's other end. The hub keeps the device, so this does not keep the hub.
struct Far {
    hub: Weak<Hub>,
    /// The last buffer was a full one of the kernel's.
    was_full: AtomicBool,
}

impl Far {
    fn new(hub: &Arc<Hub>) -> Self {
        Far {
            hub: Arc::downgrade(hub),
            was_full: AtomicBool::new(false),
        }
    }
}

impl Sink for Far {
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
struct Near(Console<GuestMemory>);

impl Port for Near {
    fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
        self.0.fill(source);
    }

    fn set_size(&self, size: WindowSize) {
        self.0.set_size(size);
    }
}

/// A device between the guest and a hub; the machine's consoles share `turns`.
pub(crate) fn device(hub: &Arc<Hub>, turns: &Turns<GuestMemory>) -> Device {
    let console = Console::new(Arc::new(Far::new(hub)), turns.clone());
    hub.connect(Arc::new(Near(console.clone())));
    Box::new(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::place::Bus;
    use crate::vm::control::Control;
    use crate::vm::outcome::{OnPanic, Outcome};
    use crate::vm::port;
    use crate::vm::watch::Watch;

    /// What of a text that comes in buffers of so many bytes is taken for the kernel's: a panic.
    fn panic_in(sizes: &[usize]) -> Option<Outcome> {
        let control = Arc::new(Control::default());
        let watch = Watch::new(control.clone(), OnPanic::Continue);
        let hub = Hub::new(
            Arc::new(port::Port::new(control, watch.clone())),
            None,
            64 << 10,
        );
        let far = Far::new(&hub);
        let mut text: &[u8] = b"[    0.512345] Kernel panic - not syncing: VFS: no root\r\n";
        for size in sizes.iter().cycle() {
            let (piece, rest) = text.split_at(text.len().min(*size));
            if piece.is_empty() {
                break;
            }
            far.send(piece);
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

    #[test]
    fn a_console_is_a_destination_and_a_place() {
        let option: ConsoleOption = "file=/tmp/a,,b,bus=pci".parse().unwrap();
        assert_eq!(option.destination, Serial::File("/tmp/a,b".into()));
        assert_eq!(option.place.bus, Bus::Pci);
        let option: ConsoleOption = "pty".parse().unwrap();
        assert_eq!(option.destination, Serial::Pty);
        for (text, part) in [
            ("", "one destination"),
            ("bus=pci", "one destination"),
            ("pty,null", "one destination"),
            ("tcp=5555", "tcp=HOST:PORT"),
            ("tty", "`tty` is no key; there are stdio, null, pty, file"),
            ("null,bus=isa", "use mmio or pci"),
        ] {
            let error = text.parse::<ConsoleOption>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
