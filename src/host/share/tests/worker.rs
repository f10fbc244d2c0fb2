//! The thread, with a host that does not answer until the test lets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ppckvm_devices::virtio::p9::{Exchange, Serve, Worker};

use crate::host::sandbox::Confinement;
use crate::host::share::worker::{Session, ShareThread};

/// Says when it is asked, and answers when it is let.
struct Stuck {
    asked: Sender<()>,
    let_go: Receiver<()>,
    resets: Arc<AtomicUsize>,
}

impl Session for Stuck {
    fn answer(&mut self, request: &[u8], _room: usize, reply: &mut Vec<u8>) {
        self.asked.send(()).unwrap();
        self.let_go.recv().unwrap();
        reply.clear();
        reply.extend(request);
    }

    fn reset(&mut self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
}

/// One message, and what became of it: whether its answer was to be delivered.
struct One {
    message: Option<&'static [u8]>,
    delivered: Sender<bool>,
}

impl Serve for One {
    fn serve_next(&mut self, exchange: &mut dyn Exchange) -> bool {
        let Some(message) = self.message.take() else {
            return false;
        };
        let mut reply = Vec::new();
        let deliver = exchange.answer(message, 100, &mut reply);
        assert_eq!(reply, message);
        self.delivered.send(deliver).unwrap();
        deliver
    }

    fn give_up(&self, why: &str) {
        panic!("{why}");
    }
}

struct Host {
    asked: Receiver<()>,
    let_go: Sender<()>,
    resets: Arc<AtomicUsize>,
    thread: ShareThread,
}

fn host(patience: Duration) -> Host {
    let ((ask, asked), (let_go, wait)) = (channel(), channel());
    let resets = Arc::<AtomicUsize>::default();
    let session = Stuck {
        asked: ask,
        let_go: wait,
        resets: resets.clone(),
    };
    let none = Confinement::default();
    let thread = ShareThread::with_patience("t", session, &none, None, patience).unwrap();
    Host {
        asked,
        let_go,
        resets,
        thread,
    }
}

fn start(host: &mut Host, message: &'static [u8]) -> Receiver<bool> {
    let (delivered, answers) = channel();
    host.thread.start(Box::new(One {
        message: Some(message),
        delivered,
    }));
    host.thread.wake();
    answers
}

#[test]
fn a_reset_waits_for_the_message_at_hand() {
    let mut host = host(Duration::from_secs(3600));
    let answers = start(&mut host, b"first");
    host.asked.recv().unwrap();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| host.thread.stop());
        assert!(!stop.is_finished());
        host.let_go.send(()).unwrap();
    });
    assert_eq!(answers.recv(), Ok(true));
    assert_eq!(host.resets.load(Ordering::SeqCst), 1);
}

#[test]
fn a_host_that_does_not_answer_is_left_and_its_answer_is_dropped() {
    let mut host = host(Duration::ZERO);
    let late = start(&mut host, b"late");
    host.asked.recv().unwrap();
    host.thread.stop();
    assert!(late.try_recv().is_err());
    // Resets that follow do not wait, and the last session is served when the host is back.
    let never = start(&mut host, b"never");
    host.thread.stop();
    let next = start(&mut host, b"next");
    host.let_go.send(()).unwrap();
    assert_eq!(late.recv(), Ok(false));
    host.asked.recv().unwrap();
    assert_eq!(host.resets.load(Ordering::SeqCst), 1);
    host.let_go.send(()).unwrap();
    assert_eq!(next.recv(), Ok(true));
    assert!(never.recv().is_err());
}

#[test]
fn a_machine_ends_while_the_host_does_not_answer() {
    let mut host = host(Duration::ZERO);
    let late = start(&mut host, b"late");
    host.asked.recv().unwrap();
    drop(host.thread);
    host.let_go.send(()).unwrap();
    assert_eq!(late.recv(), Ok(false));
}
