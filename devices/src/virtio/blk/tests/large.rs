//! Requests for more than a medium is asked for at once.

use super::super::request::perform;
use super::*;

const MIB: usize = 1 << 20;

/// Notes the pieces that it is asked for, and has the request stopped after some.
struct Pieces<'a> {
    asked: Mutex<Vec<(u64, usize)>>,
    lease: &'a Lease,
    stop_after: usize,
}

impl Pieces<'_> {
    fn asked<B: BitmapSlice>(&self, offset: u64, slices: &[VolatileSlice<'_, B>]) {
        let mut asked = self.asked.lock().unwrap();
        asked.push((offset, slices.iter().map(VolatileSlice::len).sum()));
        if asked.len() == self.stop_after {
            self.lease.recall();
        }
    }
}

impl Medium for Pieces<'_> {
    fn sectors(&self) -> u64 {
        1 << 23
    }

    fn readonly(&self) -> bool {
        false
    }

    fn serial(&self) -> &str {
        ""
    }

    fn read<B: BitmapSlice>(
        &self,
        offset: u64,
        to: &[VolatileSlice<'_, B>],
        _lease: &Lease,
    ) -> io::Result<()> {
        self.asked(offset, to);
        Ok(())
    }

    fn write<B: BitmapSlice>(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_, B>],
        _lease: &Lease,
    ) -> io::Result<()> {
        self.asked(offset, from);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, _offset: u64, _bytes: u64, _unmap: bool) -> io::Result<()> {
        Ok(())
    }
}

/// Does a request of `kind` for 20 MiB from sector 2 on, and says what the medium was asked for.
fn large(kind: u32, stop_after: usize) -> (Result<(), Status>, Vec<(u64, usize)>) {
    let memory = Memory::from_ranges(&[(GuestAddress(0), 8 * MIB)]).unwrap();
    let order = ByteOrder::Little;
    let mut driver = Driver::new(order, BASE, 16, false);
    let mut queue = driver.queue(&memory).unwrap();
    let mut header = order.put_u32(kind).to_vec();
    header.extend([0; 4]);
    header.extend(order.put_u64(2));
    memory.write_slice(&header, GuestAddress(0x8000)).unwrap();
    let next = 1;
    let way = if kind == spec::VIRTIO_BLK_T_IN { 2 } else { 0 };
    driver.describe(&memory, BASE, 0, (0x8000, 16, next, 1));
    // The same 5 MiB four times.
    for index in 1..5 {
        let data = (0x10_0000, 5 << 20, next | way, index + 1);
        driver.describe(&memory, BASE, index, data);
    }
    driver.describe(&memory, BASE, 5, (0x9000, 1, 2, 0));
    driver.make_available(&memory, 0);
    let chain = queue.pop(&memory).unwrap().unwrap();
    let lease = Lease::default();
    let medium = Pieces {
        asked: Mutex::default(),
        lease: &lease,
        stop_after,
    };
    let done = perform(&medium, &memory, order, &chain, false, &lease);
    (done, medium.asked.into_inner().unwrap())
}

#[test]
fn a_large_request_is_done_in_pieces_and_all_of_it() {
    for kind in [spec::VIRTIO_BLK_T_IN, spec::VIRTIO_BLK_T_OUT] {
        let (done, asked) = large(kind, usize::MAX);
        assert_eq!(done, Ok(()));
        let at = |mib: u64| 2 * SECTOR + (mib << 20);
        let expected = [(at(0), 8 * MIB), (at(8), 8 * MIB), (at(16), 4 * MIB)];
        assert_eq!(asked, expected);
    }
}

#[test]
fn a_large_request_ends_early_when_the_device_is_reset() {
    for kind in [spec::VIRTIO_BLK_T_IN, spec::VIRTIO_BLK_T_OUT] {
        let (done, asked) = large(kind, 1);
        assert_eq!((done, asked.len()), (Err(Status::IoErr), 1));
    }
}

#[test]
fn a_reset_says_that_requests_are_to_end_before_it_waits_for_them() {
    struct Waits(Arc<Mutex<Option<Arc<Lease>>>>, Arc<AtomicBool>);

    impl Workers for Waits {
        fn start(&mut self, _server: Arc<dyn Serve>) {}

        fn wake(&self) {}

        fn stop(&mut self) {
            let lease = self.0.lock().unwrap().clone().unwrap();
            self.1.store(lease.is_recalled(), Ordering::SeqCst);
        }
    }

    let (flag, told) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let mut device = Blk::new(
        Arc::new(Disk::new()),
        Waits(Arc::clone(&flag), told.clone()),
        1,
    );
    let activation = || Activation {
        memory: Memory::from_ranges(&[(GuestAddress(0), RAM)]).unwrap(),
        queues: Vec::new(),
        features: 0,
        order: ByteOrder::Little,
        interrupt: Interrupt::new("disk", IrqLine::detached()),
    };
    device.activate(activation());
    *flag.lock().unwrap() = Some(device.lease.clone());
    VirtioDevice::<Memory>::reset(&mut device);
    assert!(told.load(Ordering::SeqCst));
    device.activate(activation());
    assert!(!device.lease.is_recalled(), "a new start");
}
