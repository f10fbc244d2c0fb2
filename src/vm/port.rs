//! One port of the machine's, a serial port or a virtio console, as the console behind it sees it.

use std::sync::{Arc, Mutex};

use crate::host::console::Owner;
use crate::host::lock::lock;
use crate::vm::control::{Control, Request};
use crate::vm::outcome::Outcome;
use crate::vm::watch::{LineReader, Watch};

/// Requests for the machine from one console, and what the guest's kernel says there.
pub(crate) struct Port {
    control: Arc<Control>,
    /// Reads what the guest's kernel says; none where it says nothing.
    kernel: Option<(Arc<Watch>, Mutex<LineReader>)>,
}

impl Port {
    /// A port on which nothing was printed yet.
    pub fn new(control: Arc<Control>, watch: Arc<Watch>) -> Self {
        Port {
            control,
            kernel: Some((watch, Mutex::default())),
        }
    }

    /// A port for data, in which nothing that the kernel may say is looked for.
    pub fn data(control: Arc<Control>) -> Self {
        Port {
            control,
            kernel: None,
        }
    }
}

impl Owner for Port {
    fn printed(&self, bytes: &[u8], polled: bool) {
        if let Some((watch, lines)) = &self.kernel {
            let said = lock(lines).take(bytes, polled);
            watch.printed(said);
        }
    }

    fn text_found(&self) {
        self.control.request(Request::TextSeen);
    }

    fn wants_return(&self) -> bool {
        self.control.is_raised()
    }

    fn on_return_wanted(&self, hook: Box<dyn Fn() + Send + Sync>) {
        self.control.on_request(hook);
    }

    fn has_begun(&self) -> bool {
        self.control.has_begun()
    }

    fn quit(&self) {
        self.control.request(Request::End(Outcome::Quit));
    }

    fn output_lost(&self, how: String) {
        self.control
            .request(Request::End(Outcome::ConsoleLost(how)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::console::ConsoleHub;
    use crate::vm::outcome::OnPanic;

    fn hub() -> (Arc<Control>, Arc<Watch>, Arc<ConsoleHub>) {
        let control = Arc::new(Control::default());
        let watch = Watch::new(control.clone(), OnPanic::Continue);
        let port = Port::new(control.clone(), watch.clone());
        (
            control,
            watch,
            ConsoleHub::new(Arc::new(port), None, 64 << 10),
        )
    }

    #[test]
    fn text_that_is_found_and_a_panic_reach_the_machine() {
        let (control, watch, hub) = hub();
        hub.search(b"VFS");
        hub.transmit(b"Kernel panic - not syncing: VFS\r\n");
        assert!(matches!(control.take(), Some(Request::TextSeen)));
        let message = Some("VFS".to_owned());
        assert_eq!(watch.panic(), Some(Outcome::KernelPanic { message }));
    }

    #[test]
    fn a_request_ends_the_wait_for_room() {
        let (control, _, hub) = hub();
        let _reader = hub.reader().unwrap();
        hub.transmit(&vec![b'x'; 64 << 10]);
        control.request(Request::Deadline);
        hub.settle();
        assert!(matches!(control.take(), Some(Request::Deadline)));
    }
}
