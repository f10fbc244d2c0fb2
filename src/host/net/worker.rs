//! The thread of a network device: it alone moves frames between the guest's queues and the
//! network, so neither the vcpu nor the machine's event thread ever waits for either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::net::{Net, Port};
use ppckvm_devices::virtio::{Activation, ByteOrder, VirtioDevice};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Backend, Mac, NetError};
use crate::host::sandbox::{Confinement, Role};

const WAKE: u32 = 0;
const NETWORK: u32 = 1;

/// What the thread serves.
struct Service {
    wake: Arc<EventFd>,
    port: Port<GuestMemory>,
    network: Box<dyn Backend>,
    /// The network's descriptor is waited for.
    listening: bool,
    deadline: Option<Instant>,
}

impl Service {
    /// Moves everything that can be moved now.
    fn turn(&mut self) {
        loop {
            self.network.poll(Instant::now());
            let more = self.port.serve(&mut *self.network);
            self.deadline = self.network.deadline();
            if !more {
                return;
            }
        }
    }

    fn timeout(&self) -> i32 {
        let Some(deadline) = self.deadline else {
            return -1;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the deadline has passed when the wait is over.
        let left = left + Duration::from_micros(999);
        left.as_millis().try_into().unwrap_or(i32::MAX)
    }
}

impl MutEventSubscriber for Service {
    fn init(&mut self, ops: &mut EventOps) {
        let added = ops.add(Events::with_data(&*self.wake, WAKE, EventSet::IN));
        let added = added.and_then(|()| match self.network.descriptor() {
            Some(descriptor) => {
                self.listening = true;
                ops.add(Events::with_data(&descriptor, NETWORK, EventSet::IN))
            }
            None => Ok(()),
        });
        if let Err(error) = added {
            tracing::error!("a network cannot wait for its files: {error}");
        }
        self.turn();
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if events.data() == WAKE {
            // Empty when another look has seen it.
            let _ = self.wake.read();
        }
        self.turn();
        if self.listening && self.network.descriptor().is_none() {
            self.listening = false;
            if events.data() == NETWORK {
                let gone = Events::with_data_raw(events.fd(), NETWORK, EventSet::IN);
                if let Err(error) = ops.remove(gone) {
                    tracing::error!("a network that is gone cannot be left alone: {error}");
                }
            }
        }
    }
}

/// A network device with its thread, which ends when this is dropped.
pub(super) struct NetDevice {
    net: Net<GuestMemory>,
    wake: Arc<EventFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NetDevice {
    /// Starts the thread `name` over a network, confined.
    pub fn start(
        name: &str,
        mac: Mac,
        network: Box<dyn Backend>,
        confinement: &Confinement,
    ) -> Result<Self, NetError> {
        let failed = |what| move |error| NetError::Host { what, error };
        let wake = EventFd::new(EFD_NONBLOCK).map_err(failed("event descriptor"))?;
        let wake = Arc::new(wake);
        let (net, port) = Net::new(mac.bytes(), network.offloads(), {
            let wake = wake.clone();
            Box::new(move || {
                // Full only when the thread is awake already.
                let _ = wake.write(1);
            })
        });
        let mut manager = EventManager::<Service>::new()
            .map_err(|error| failed("epoll set")(std::io::Error::other(error)))?;
        let id = manager.add_subscriber(Service {
            wake: wake.clone(),
            port,
            network,
            listening: false,
            deadline: None,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let serve = move || {
            while !stopped.load(Ordering::SeqCst) {
                let timeout = manager
                    .subscriber_mut(id)
                    .map_or(-1, |service| service.timeout());
                match manager.run_with_timeout(timeout) {
                    Ok(0) => {
                        if let Ok(service) = manager.subscriber_mut(id) {
                            service.turn();
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!("a network's thread ends: {error}");
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into());
        let thread = confinement.spawn(thread, Role::Net, serve);
        let thread = thread.map_err(failed("thread"))?;
        Ok(NetDevice {
            net,
            wake,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for NetDevice {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a network's thread panicked");
        }
    }
}

impl VirtioDevice<GuestMemory> for NetDevice {
    fn device_id(&self) -> u16 {
        VirtioDevice::device_id(&self.net)
    }

    fn features(&self) -> u64 {
        VirtioDevice::features(&self.net)
    }

    fn queue_sizes(&self) -> &[u16] {
        VirtioDevice::queue_sizes(&self.net)
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        self.net.config_read(offset, data, order);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        self.net.config_write(offset, data, order);
    }

    fn activate(&mut self, activation: Activation<GuestMemory>) {
        self.net.activate(activation);
    }

    fn notify(&mut self, queue: u16) {
        self.net.notify(queue);
    }

    fn reset(&mut self) {
        self.net.reset();
    }
}
