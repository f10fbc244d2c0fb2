//! A UART as its console's port: when the guest gets input, and that none of it is lost.
//!
//! A driver that opens or closes the port throws away what the receiver holds. A person's terminal
//! loses a key that way; a script would lose a command. So input is given only to a guest that
//! listens, and what it has not read comes back when it stops listening or clears the FIFO. The
//! guest sees a sender that was slower, and nothing else.

use std::sync::{Arc, Mutex, Weak};

use ppckvm_devices::uart16550::Uart;
use ppckvm_devices::{AccessError, MmioDevice};

use super::{ConsoleHub, Port};
use crate::host::lock::lock;

/// Loads of LSR in a row, with no store between, that tell a guest that waits for input without
/// interrupts from one that waits for the transmitter, which here is always empty.
const POLLS: u32 = 16;

/// Offset of the transmitter and receiver.
const DATA: u32 = 0;
/// Offset of the line status register.
const LSR: u32 = 5;

#[derive(Debug, Default)]
struct Listening {
    polls: u32,
}

/// The port; clones are the same port.
#[derive(Clone)]
pub(crate) struct ConsolePort(Arc<Shared>);

struct Shared {
    uart: Uart,
    hub: Weak<ConsoleHub>,
    /// Held while bytes move between the console and the UART, either way.
    listening: Mutex<Listening>,
}

impl ConsolePort {
    /// Puts `uart` between the guest and the console.
    pub fn new(uart: Uart, hub: &Arc<ConsoleHub>) -> Self {
        let listening = Mutex::new(Listening::default());
        ConsolePort(Arc::new(Shared {
            uart,
            hub: Arc::downgrade(hub),
            listening,
        }))
    }
}

impl Shared {
    fn is_listening(&self, listening: &Listening) -> bool {
        self.uart.is_listening() || listening.polls >= POLLS
    }

    /// Takes back what the receiver holds.
    fn take_back(&self, held: &[u8]) {
        if let Some(hub) = self.hub.upgrade() {
            hub.take_back(held.iter().copied());
        }
    }

    /// Does what makes the guest stop listening or the receiver forget, and saves what it held.
    fn change(
        &self,
        change: impl FnOnce(&Uart, &mut Listening) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let mut listening = lock(&self.listening);
        let before = self.uart.state();
        let result = change(&self.uart, &mut listening);
        if let Some(hub) = self.hub.upgrade() {
            hub.set_polled(self.uart.state().ier == 0);
        }
        if before.rx_len > 0 {
            let kept = self.uart.state().rx_len > 0;
            if kept && !self.is_listening(&listening) {
                self.take_back(&self.uart.take_received());
            } else if !kept {
                self.take_back(&before.received().collect::<Vec<u8>>());
            }
        }
        result
    }
}

impl Port for ConsolePort {
    fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
        let listening = lock(&self.0.listening);
        if !self.0.is_listening(&listening) {
            return;
        }
        let bytes = source(self.0.uart.room());
        let taken = self.0.uart.receive(&bytes);
        // Nothing but a store of the guest's can have taken the room, and those wait for the lock.
        if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            self.0.take_back(rest);
        }
    }

    fn send_break(&self) -> bool {
        let listening = lock(&self.0.listening);
        self.0.is_listening(&listening) && self.0.uart.receive_break()
    }
}

impl MmioDevice for ConsolePort {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        if offset == LSR {
            let mut listening = lock(&self.0.listening);
            listening.polls = listening.polls.saturating_add(1);
        }
        self.0.uart.clone().read(offset, data)
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        if offset == DATA {
            lock(&self.0.listening).polls = 0;
            return self.0.uart.clone().write(offset, data);
        }
        self.0.change(|uart, listening| {
            listening.polls = 0;
            uart.clone().write(offset, data)
        })
    }

    fn reset(&mut self) {
        // `change` ignores nothing: a reset has no result.
        let _ = self.0.change(|uart, listening| {
            listening.polls = 0;
            uart.clone().reset();
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::console::Owner;
    use ppckvm_devices::IrqLine;

    const IER: u32 = 1;
    const FCR: u32 = 2;

    /// A machine that runs on and does not listen.
    struct Recorder;

    impl Owner for Recorder {
        fn printed(&self, _: &[u8], _: bool) {}

        fn text_found(&self) {}

        fn wants_return(&self) -> bool {
            false
        }

        fn on_return_wanted(&self, _: Box<dyn Fn() + Send + Sync>) {}

        fn quit(&self) {}

        fn output_lost(&self, _: String) {}
    }

    fn port() -> (Arc<ConsoleHub>, ConsolePort) {
        let hub = ConsoleHub::new(Arc::new(Recorder), None, 1 << 16);
        let port = ConsolePort::new(Uart::new(IrqLine::detached(), Box::new(|_| {})), &hub);
        hub.connect(Arc::new(port.clone()));
        (hub, port)
    }

    fn load(port: &mut ConsolePort, offset: u32) -> u8 {
        let mut byte = [0];
        port.read(offset, &mut byte).unwrap();
        byte[0]
    }

    fn listen(port: &mut ConsolePort) {
        port.write(FCR, &[1]).unwrap();
        port.write(IER, &[1]).unwrap();
    }

    #[test]
    fn a_guest_that_does_not_listen_gets_nothing() {
        let (hub, mut port) = port();
        hub.receive(b"a");
        assert_eq!(load(&mut port, LSR) & 1, 0);
        listen(&mut port);
        hub.settle();
        assert_eq!(load(&mut port, LSR) & 1, 1);
        assert_eq!(load(&mut port, DATA), b'a');
    }

    #[test]
    fn a_guest_that_polls_is_given_input() {
        let (hub, mut port) = port();
        hub.receive(b"a");
        for _ in 0..POLLS {
            load(&mut port, LSR);
        }
        hub.settle();
        assert_eq!(load(&mut port, LSR) & 1, 1);
    }

    #[test]
    fn a_guest_that_prints_is_not_taken_for_one_that_polls() {
        let (hub, mut port) = port();
        hub.receive(b"a");
        for _ in 0..2 * POLLS {
            load(&mut port, LSR);
            port.write(DATA, b"x").unwrap();
        }
        hub.settle();
        assert_eq!(load(&mut port, LSR) & 1, 0);
    }

    #[test]
    fn what_a_cleared_fifo_held_comes_again() {
        let (hub, mut port) = port();
        listen(&mut port);
        hub.receive(b"abc");
        assert_eq!(load(&mut port, DATA), b'a');
        port.write(FCR, &[3]).unwrap();
        assert_eq!(load(&mut port, LSR) & 1, 0);
        hub.settle();
        assert_eq!([load(&mut port, DATA), load(&mut port, DATA)], *b"bc");
    }

    #[test]
    fn closing_the_port_loses_nothing() {
        let (hub, mut port) = port();
        listen(&mut port);
        hub.receive(b"abcdefghijklmnopqrstuvwxyz");
        port.write(IER, &[0]).unwrap();
        load(&mut port, DATA);
        port.write(IER, &[1]).unwrap();
        let mut got = Vec::new();
        hub.settle();
        while load(&mut port, LSR) & 1 != 0 {
            got.push(load(&mut port, DATA));
            hub.settle();
        }
        assert_eq!(got, b"abcdefghijklmnopqrstuvwxyz");
    }

    #[test]
    fn a_break_reaches_a_guest_that_listens_and_has_read_what_came_before() {
        const BREAK: u8 = 0x10;
        let (hub, mut port) = port();
        assert!(!hub.send_break(), "nobody listens");
        listen(&mut port);
        hub.receive(b"0123456789abcdefg");
        assert!(!hub.send_break(), "it would overtake the last byte");
        while load(&mut port, LSR) & 1 != 0 {
            load(&mut port, DATA);
            hub.settle();
        }
        assert!(hub.send_break());
        hub.receive(b"h");
        assert_eq!(load(&mut port, LSR) & (BREAK | 1), BREAK | 1);
        assert_eq!([load(&mut port, DATA), load(&mut port, DATA)], *b"\0h");
        // A break that the guest did not read is not typed as a byte of zeros later.
        assert!(hub.send_break());
        port.write(IER, &[0]).unwrap();
        listen(&mut port);
        hub.settle();
        assert_eq!(load(&mut port, LSR) & 1, 0);
    }

    #[test]
    fn a_reset_loses_nothing() {
        let (hub, mut port) = port();
        listen(&mut port);
        hub.receive(b"ab");
        MmioDevice::reset(&mut port);
        listen(&mut port);
        hub.settle();
        assert_eq!([load(&mut port, DATA), load(&mut port, DATA)], *b"ab");
    }
}
