//! The device over queues in memory, for both byte orders; `random` has what no driver would send.

mod large;
mod random;

use std::sync::Mutex;

use vm_memory::{Bytes, GuestAddress};

use super::request::Status;
use super::*;
use crate::irq::IrqLine;
use crate::test_support::driver::{Driver, Offer};
use crate::virtio::Interrupt;

type Memory = vm_memory::GuestMemoryMmap<()>;

const BASE: u64 = 0x1000;
const RAM: usize = 0x10_0000;
const SECTORS: u64 = 64;

/// What happened to a medium, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Write(u64, usize),
    Flush,
    Discard(u64, u64),
    Zero(u64, u64, bool),
}

/// A disk in memory that notes what is asked of it, and fails if told to.
struct Disk {
    bytes: Mutex<Vec<u8>>,
    events: Mutex<Vec<Event>>,
    readonly: bool,
    serial: &'static str,
    fails: AtomicBool,
}

impl Disk {
    fn new() -> Self {
        let bytes = (0..SECTORS * SECTOR).map(|at| (at / SECTOR) as u8);
        Disk {
            bytes: Mutex::new(bytes.collect()),
            events: Mutex::new(Vec::new()),
            readonly: false,
            serial: "440",
            fails: AtomicBool::new(false),
        }
    }

    fn done(&self, event: Event) -> io::Result<()> {
        self.events.lock().unwrap().push(event);
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    fn at(&self, sector: u64, bytes: usize) -> Vec<u8> {
        let at = (sector * SECTOR) as usize;
        self.bytes.lock().unwrap()[at..at + bytes].to_vec()
    }
}

impl Medium for Arc<Disk> {
    fn sectors(&self) -> u64 {
        SECTORS
    }

    fn readonly(&self) -> bool {
        self.readonly
    }

    fn serial(&self) -> &str {
        self.serial
    }

    fn read<B: BitmapSlice>(
        &self,
        offset: u64,
        to: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let mut at = offset as usize;
        for slice in to {
            lease.during(|| slice.copy_from(&bytes[at..at + slice.len()]))?;
            at += slice.len();
        }
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    }

    fn write<B: BitmapSlice>(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let mut at = offset as usize;
        for slice in from {
            lease.during(|| slice.copy_to(&mut bytes[at..at + slice.len()]))?;
            at += slice.len();
        }
        self.done(Event::Write(offset, at - offset as usize))
    }

    fn flush(&self) -> io::Result<()> {
        self.done(Event::Flush)
    }

    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        assert!(offset + bytes <= SECTORS * SECTOR);
        self.done(Event::Discard(offset, bytes))
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        let range = offset as usize..(offset + bytes) as usize;
        self.bytes.lock().unwrap()[range].fill(0);
        self.done(Event::Zero(offset, bytes, unmap))
    }
}

/// Serves in the caller's thread when it is woken.
#[derive(Default)]
struct Here(Option<Arc<dyn Serve>>);

impl Workers for Here {
    fn start(&mut self, server: Arc<dyn Serve>) {
        self.0 = Some(server);
    }

    fn wake(&self) {
        if let Some(server) = &self.0 {
            while server.serve_next(&|| ()) {}
        }
    }

    fn stop(&mut self) {
        self.0 = None;
    }
}

/// A driver and its device.
struct Bench {
    memory: Memory,
    driver: Driver,
    order: ByteOrder,
    disk: Arc<Disk>,
    device: Blk<Arc<Disk>, Here>,
    interrupt: Interrupt,
}

impl Bench {
    fn new(disk: Disk, order: ByteOrder) -> Self {
        let disk = Arc::new(disk);
        let device = Blk::new(disk.clone(), Here::default(), 1);
        let mut bench = Bench {
            memory: Memory::from_ranges(&[(GuestAddress(0), RAM)]).unwrap(),
            driver: Driver::new(order, BASE, 16, true),
            order,
            disk,
            device,
            interrupt: Interrupt::new("disk", IrqLine::detached()),
        };
        let features = VirtioDevice::<Memory>::features(&bench.device);
        bench.activate(features);
        bench
    }

    fn activate(&mut self, features: u64) {
        self.driver = Driver::new(self.order, BASE, 16, true);
        self.memory
            .write_slice(&[0; 0x3000], GuestAddress(BASE))
            .unwrap();
        let queue = self.driver.queue(&self.memory).unwrap();
        self.device.activate(Activation {
            memory: self.memory.clone(),
            queues: vec![queue],
            features,
            order: self.order,
            interrupt: self.interrupt.clone(),
        });
    }

    fn header(&self, kind: u32, sector: u64) -> Vec<u8> {
        let mut header = self.order.put_u32(kind).to_vec();
        header.extend([0; 4]);
        header.extend(self.order.put_u64(sector));
        header
    }

    /// Little-endian for every driver.
    fn range(&self, sector: u64, count: u32, flags: u32) -> Vec<u8> {
        let mut range = sector.to_le_bytes().to_vec();
        range.extend(count.to_le_bytes());
        range.extend(flags.to_le_bytes());
        range
    }

    /// Sends what is readable and so many writable bytes; the buffers that came back.
    fn send(&mut self, readable: &[&[u8]], writable: &[u32]) -> Option<Offer> {
        self.driver.reuse_buffers();
        let offer = self.driver.offer(&self.memory, readable, writable);
        VirtioDevice::<Memory>::notify(&mut self.device, 0);
        let (head, written) = self.driver.used(&self.memory)?;
        assert_eq!(head, offer.head);
        assert_eq!(written, writable.iter().sum::<u32>());
        Some(offer)
    }

    /// As `send`; the data and the status.
    fn ask(&mut self, readable: &[&[u8]], data: &[u32]) -> (Vec<u8>, u8) {
        let mut writable = data.to_vec();
        writable.push(1);
        let offer = self.send(readable, &writable).expect("an answer");
        let count: u32 = writable.iter().sum();
        let mut bytes = offer.written(&self.memory, count as usize);
        let status = bytes.pop().unwrap();
        (bytes, status)
    }

    /// A request without data in.
    fn tell(&mut self, kind: u32, sector: u64, data: &[u8]) -> u8 {
        let header = self.header(kind, sector);
        self.ask(&[&header, data], &[]).1
    }
}

const OK: u8 = Status::Ok as u8;
const IOERR: u8 = Status::IoErr as u8;
const UNSUPP: u8 = Status::Unsupported as u8;

fn each_order(case: impl Fn(Bench)) {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        case(Bench::new(Disk::new(), order));
    }
}

#[test]
fn reads_and_writes_reach_the_sectors_they_name() {
    each_order(|mut bench| {
        let header = bench.header(spec::VIRTIO_BLK_T_IN, 5);
        let (data, status) = bench.ask(&[&header], &[100, 900, 24]);
        assert_eq!(status, OK);
        assert_eq!(data, [[5; 512], [6; 512]].concat());

        let data: Vec<u8> = (0..1536).map(|i| i as u8).collect();
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_OUT, 61, &data), OK);
        assert_eq!(bench.disk.at(61, 1536), data);
        assert_eq!(bench.disk.at(60, 512), [60; 512]);
        assert_eq!(bench.disk.take_events(), [Event::Write(61 * 512, 1536)]);
        assert!(bench.interrupt.status() != 0 && !bench.interrupt.is_reset_needed());
    });
}

#[test]
fn a_request_may_be_laid_out_anyhow() {
    each_order(|mut bench| {
        let mut request = bench.header(spec::VIRTIO_BLK_T_OUT, 3);
        request.extend([9; 512]);
        let pieces: Vec<&[u8]> = request.chunks(60).collect();
        assert_eq!(bench.ask(&pieces, &[]).1, OK);
        assert_eq!(bench.disk.at(3, 512), [9; 512]);
        // Data and status in one buffer.
        let header = bench.header(spec::VIRTIO_BLK_T_IN, 4);
        let offer = bench.send(&[&header[..7], &header[7..]], &[513]).unwrap();
        let answer = offer.written(&bench.memory, 513);
        assert_eq!((&answer[..512], answer[512]), (&[4; 512][..], OK));
    });
}

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    each_order(|mut bench| {
        for (sector, bytes) in [
            (SECTORS, 512),
            (SECTORS - 1, 1024),
            (u64::MAX, 512),
            (u64::MAX / 512, 512),
            (0, 511),
            (0, 100),
        ] {
            let header = bench.header(spec::VIRTIO_BLK_T_IN, sector);
            assert_eq!(bench.ask(&[&header], &[bytes]).1, IOERR, "{sector} {bytes}");
            let data = vec![1; bytes as usize];
            let status = bench.tell(spec::VIRTIO_BLK_T_OUT, sector, &data);
            assert_eq!(status, IOERR, "{sector} {bytes}");
        }
        assert_eq!(bench.disk.take_events(), []);
        // Nothing at the end is nothing.
        let header = bench.header(spec::VIRTIO_BLK_T_IN, SECTORS);
        assert_eq!(bench.ask(&[&header], &[]).1, OK);
    });
}

#[test]
fn the_id_is_the_serial_number_in_as_many_bytes_as_there_are() {
    each_order(|mut bench| {
        let header = bench.header(spec::VIRTIO_BLK_T_GET_ID, 0);
        let mut id = b"440".to_vec();
        id.resize(ID_BYTES, 0);
        assert_eq!(bench.ask(&[&header], &[20]), (id.clone(), OK));
        assert_eq!(bench.ask(&[&header], &[2]), (b"44".to_vec(), OK));
        assert_eq!(bench.ask(&[&header], &[22]).0[..20], id);
    });
}

#[test]
fn discards_and_zeroes_are_checked_before_any_is_done() {
    each_order(|mut bench| {
        let two = [bench.range(1, 2, 0), bench.range(10, 4, 0)].concat();
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_DISCARD, 0, &two), OK);
        assert_eq!(
            bench.disk.take_events(),
            [Event::Discard(512, 1024), Event::Discard(5120, 2048)]
        );
        let two = [bench.range(1, 2, 0), bench.range(10, 4, UNMAP)].concat();
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_WRITE_ZEROES, 0, &two), OK);
        assert_eq!(
            bench.disk.take_events(),
            [Event::Zero(512, 1024, false), Event::Zero(5120, 2048, true)]
        );
        let good = bench.range(1, 2, 0);
        for (kind, bad, status) in [
            (spec::VIRTIO_BLK_T_DISCARD, bench.range(1, 2, UNMAP), UNSUPP),
            (spec::VIRTIO_BLK_T_DISCARD, bench.range(1, 2, 4), UNSUPP),
            (
                spec::VIRTIO_BLK_T_WRITE_ZEROES,
                bench.range(1, 2, 2),
                UNSUPP,
            ),
            (
                spec::VIRTIO_BLK_T_DISCARD,
                bench.range(SECTORS, 1, 0),
                IOERR,
            ),
            (
                spec::VIRTIO_BLK_T_DISCARD,
                bench.range(u64::MAX, 2, 0),
                IOERR,
            ),
            (
                spec::VIRTIO_BLK_T_WRITE_ZEROES,
                bench.range(0, u32::MAX, 0),
                IOERR,
            ),
            (spec::VIRTIO_BLK_T_DISCARD, vec![0; 15], IOERR),
            (spec::VIRTIO_BLK_T_DISCARD, vec![0; 16 * 32], IOERR),
        ] {
            let data = [good.clone(), bad].concat();
            assert_eq!(bench.tell(kind, 0, &data), status, "{data:?}");
        }
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_DISCARD, 0, &[]), IOERR);
        assert_eq!(bench.disk.take_events(), []);
    });
}

const UNMAP: u32 = 1;

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let mut disk = Disk::new();
    disk.readonly = true;
    let mut bench = Bench::new(disk, ByteOrder::Little);
    let features = VirtioDevice::<Memory>::features(&bench.device);
    assert!(features & 1 << spec::VIRTIO_BLK_F_RO != 0);
    assert!(features & 1 << spec::VIRTIO_BLK_F_DISCARD == 0);
    let range = bench.range(0, 1, 0);
    assert_eq!(bench.tell(spec::VIRTIO_BLK_T_OUT, 0, &[0; 512]), IOERR);
    assert_eq!(bench.tell(spec::VIRTIO_BLK_T_DISCARD, 0, &range), IOERR);
    assert_eq!(
        bench.tell(spec::VIRTIO_BLK_T_WRITE_ZEROES, 0, &range),
        IOERR
    );
    assert_eq!(bench.disk.take_events(), []);
    assert_eq!(bench.tell(spec::VIRTIO_BLK_T_FLUSH, 0, &[]), OK);
}

#[test]
fn a_driver_that_does_not_flush_has_every_write_on_the_disk() {
    each_order(|mut bench| {
        let write = |bench: &mut Bench| {
            assert_eq!(bench.tell(spec::VIRTIO_BLK_T_OUT, 0, &[1; 512]), OK);
            bench.disk.take_events().len()
        };
        assert_eq!(write(&mut bench), 1);
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_FLUSH, 0, &[]), OK);
        assert_eq!(bench.disk.take_events(), [Event::Flush]);

        // The cache is turned off, and on again.
        let order = bench.order;
        let set = |bench: &mut Bench, value: u8| {
            let device: &mut dyn VirtioDevice<Memory> = &mut bench.device;
            device.config_write(fields::WRITEBACK, &[value], order);
            let mut read = [9];
            device.config_read(fields::WRITEBACK, &mut read, order);
            assert_eq!(read, [value]);
        };
        set(&mut bench, 0);
        assert_eq!(write(&mut bench), 2);
        let range = bench.range(0, 1, 0);
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_WRITE_ZEROES, 0, &range), OK);
        assert_eq!(
            bench.disk.take_events(),
            [Event::Zero(0, 512, false), Event::Flush]
        );
        set(&mut bench, 1);
        assert_eq!(write(&mut bench), 1);

        // A driver without the feature.
        VirtioDevice::<Memory>::reset(&mut bench.device);
        bench.activate(0);
        assert_eq!(write(&mut bench), 2);
    });
}

#[test]
fn what_the_host_cannot_do_is_an_error_and_the_next_request_goes_on() {
    each_order(|mut bench| {
        bench.disk.fails.store(true, Ordering::SeqCst);
        let range = bench.range(0, 1, 0);
        for (kind, data) in [
            (spec::VIRTIO_BLK_T_OUT, vec![0; 512]),
            (spec::VIRTIO_BLK_T_FLUSH, vec![]),
            (spec::VIRTIO_BLK_T_DISCARD, range.clone()),
            (spec::VIRTIO_BLK_T_WRITE_ZEROES, range),
        ] {
            assert_eq!(bench.tell(kind, 0, &data), IOERR);
        }
        let header = bench.header(spec::VIRTIO_BLK_T_IN, 0);
        assert_eq!(bench.ask(&[&header], &[512]).1, IOERR);
        bench.disk.fails.store(false, Ordering::SeqCst);
        assert_eq!(bench.ask(&[&header], &[512]).1, OK);
        assert!(!bench.interrupt.is_reset_needed());
    });
}

#[test]
fn requests_of_no_known_kind_are_unsupported() {
    each_order(|mut bench| {
        for kind in [2, 3, 5, 10, 14, 0x8000_0000, u32::MAX] {
            assert_eq!(bench.tell(kind, 0, &[0; 512]), UNSUPP, "{kind}");
        }
        // Too short to have a kind.
        assert_eq!(bench.ask(&[&[0; 15]], &[]).1, IOERR);
        assert_eq!(bench.ask(&[], &[512]).1, IOERR);
    });
}

#[test]
fn a_request_without_a_status_breaks_the_device_until_it_is_reset() {
    each_order(|mut bench| {
        let header = bench.header(spec::VIRTIO_BLK_T_FLUSH, 0);
        assert_eq!(bench.send(&[&header], &[]), None);
        assert!(bench.interrupt.is_reset_needed());
        VirtioDevice::<Memory>::reset(&mut bench.device);
        bench.interrupt.clear();
        let features = VirtioDevice::<Memory>::features(&bench.device);
        bench.activate(features);
        assert_eq!(bench.tell(spec::VIRTIO_BLK_T_FLUSH, 0, &[]), OK);
    });
}

#[test]
fn the_fields_have_the_drivers_order_and_end_in_zeros() {
    each_order(|mut bench| {
        let order = bench.order;
        let device: &mut dyn VirtioDevice<Memory> = &mut bench.device;
        assert_eq!(device.device_id(), 2);
        let mut fields = [0xFF; 64];
        device.config_read(0, &mut fields, order);
        assert_eq!(fields[..8], order.put_u64(SECTORS));
        assert_eq!(fields[12..16], order.put_u32(254));
        assert_eq!(fields[20..24], order.put_u32(512));
        assert_eq!(fields[34..36], order.put_u16(1));
        assert_eq!(fields[36..40], order.put_u32(MAX_DISCARD_SECTORS));
        assert_eq!(fields[60..], [0; 4]);
        // Only `writeback` can be written, as a byte.
        for offset in [0, 12, 31, 33] {
            device.config_write(offset, &[0x55], order);
        }
        device.config_write(32, &[0, 0], order);
        let mut after = [0; 64];
        device.config_read(0, &mut after, order);
        assert_eq!(after, fields);
    });
}

#[test]
fn every_queue_is_served() {
    let memory = Memory::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    let disk = Arc::new(Disk::new());
    let mut device = Blk::new(disk, Here::default(), 3);
    let features = VirtioDevice::<Memory>::features(&device);
    assert!(features & 1 << spec::VIRTIO_BLK_F_MQ != 0);
    let order = ByteOrder::Little;
    let mut drivers = [0x1000, 0x11000, 0x21000].map(|base| Driver::new(order, base, 16, false));
    let queues = drivers.iter().map(|driver| driver.queue(&memory).unwrap());
    device.activate(Activation {
        memory: memory.clone(),
        queues: queues.collect(),
        features,
        order,
        interrupt: Interrupt::new("disk", IrqLine::detached()),
    });
    let mut header = order.put_u32(spec::VIRTIO_BLK_T_FLUSH).to_vec();
    header.resize(16, 0);
    for driver in &mut drivers {
        driver.offer(&memory, &[&header], &[1]);
    }
    VirtioDevice::<Memory>::notify(&mut device, 1);
    for driver in &mut drivers {
        assert!(driver.used(&memory).is_some());
    }
}
