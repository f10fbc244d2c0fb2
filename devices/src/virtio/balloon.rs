//! The balloon (virtio 1.2, 5.5): the guest gives pages back to the host, as many as it is asked for,
//! and by itself those that it does not use (free page reporting).
//!
//! Whatever pages a guest gives back read as zeros when it uses them again.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemory;

use super::backlog::REQUESTS_AT_ONCE;
use super::byte_order::ByteOrder;
use super::chain::Chain;
use super::device::{Activation, VirtioDevice, read_fields};
use super::interrupt::Interrupt;
use super::queue_error::QueueError;

/// The virtio device ID.
pub const DEVICE_ID: u16 = 5;

/// The guest takes pages back when it runs out of memory.
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// The guest reports pages that it does not use.
const F_PAGE_REPORTING: u64 = 1 << 5;

/// Pages given back, pages taken again, pages not used. The statistics' and the hints' queues would
/// be between; a driver counts only the queues of features that it was offered.
const QUEUE_SIZES: [u16; 3] = [128, 128, 128];
const INFLATE: u16 = 0;
const REPORTING: u16 = 2;

/// Bytes of a page in this device's requests, whatever the guest's pages are.
pub const PAGE: u64 = 4096;

/// How many pages a request may name: what it costs is bounded. Linux names 256.
const MOST_PAGES: usize = 1 << 16;

/// How many ranges of pages are given back before others have a look. A hole in a memory file, as
/// guest RAM is one, took 3.7 µs where this was measured (60,000 of them, every other page), so a
/// millisecond in all; Linux names no more pages than these in one request.
const RANGES_AT_ONCE: usize = 256;

/// Gives guest memory back to the host.
pub trait Discard: Send {
    /// Gives back a range of guest physical addresses, whole pages inside guest RAM, which read as
    /// zeros from now on.
    ///
    /// # Errors
    /// When the host does not take them; what they hold is then undefined.
    fn discard(&mut self, range: Range<u64>) -> std::io::Result<()>;
}

/// The values that a snapshot must hold, in pages of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The pages that the guest is asked for.
    pub num_pages: u32,
    /// The pages that the guest gave, as it says.
    pub actual: u32,
}

/// The configuration fields, which two threads use.
#[derive(Debug, Default)]
struct Fields {
    /// The pages that the guest is asked for.
    num_pages: AtomicU32,
    /// The pages that the guest gave, as it says.
    actual: AtomicU32,
}

/// The host's side of a balloon; clones are the same.
#[derive(Clone, Debug)]
pub struct Target {
    fields: Arc<Fields>,
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

impl Target {
    fn interrupt(&self) -> MutexGuard<'_, Option<Interrupt>> {
        self.interrupt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the guest for so many pages of 4 KiB in all.
    pub fn set(&self, pages: u32) {
        self.fields.num_pages.store(pages, Ordering::SeqCst);
        let interrupt = self.interrupt().clone();
        if let Some(interrupt) = interrupt {
            interrupt.config_changed();
        }
    }

    /// Returns how many pages the guest has given, as it says.
    pub fn actual(&self) -> u32 {
        self.fields.actual.load(Ordering::SeqCst)
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        State {
            num_pages: self.fields.num_pages.load(Ordering::SeqCst),
            actual: self.actual(),
        }
    }

    /// Takes up a state that [`Target::state`] returned.
    pub fn set_state(&self, state: State) {
        self.fields.actual.store(state.actual, Ordering::SeqCst);
        self.fields
            .num_pages
            .store(state.num_pages, Ordering::SeqCst);
    }
}

/// A request whose pages are on their way to the host.
struct UnderWay {
    queue: u16,
    head: u16,
    ranges: std::vec::IntoIter<Range<u64>>,
}

/// The balloon device.
pub struct Balloon<M> {
    discard: Box<dyn Discard>,
    target: Target,
    activation: Option<Activation<M>>,
    /// The request that is being done.
    under_way: Option<UnderWay>,
    /// Which queues may have more requests than were done.
    more: [bool; 3],
    /// The host refused once; that is said once.
    refused: bool,
}

impl<M> fmt::Debug for Balloon<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balloon")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<M: GuestMemory> Balloon<M> {
    /// A balloon that gives memory back through `discard`.
    pub fn new(discard: Box<dyn Discard>) -> Self {
        let target = Target {
            fields: Arc::default(),
            interrupt: Arc::default(),
        };
        Balloon {
            discard,
            target,
            activation: None,
            under_way: None,
            more: [false; 3],
            refused: false,
        }
    }

    /// Returns the host's side of the balloon.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// Does a bounded part of what waits: at most [`RANGES_AT_ONCE`] ranges of one request, or a
    /// few requests that need no host.
    fn serve(&mut self) -> Result<(), (u16, QueueError)> {
        let Some(activation) = &mut self.activation else {
            return Ok(());
        };
        let mut requests = 0;
        while requests < REQUESTS_AT_ONCE {
            let request = match self.under_way.take() {
                Some(request) => request,
                None => match next(activation, &mut self.more)? {
                    Some(request) => request,
                    None => break,
                },
            };
            let UnderWay {
                queue,
                head,
                mut ranges,
            } = request;
            let mut given = 0;
            for range in ranges.by_ref().take(RANGES_AT_ONCE) {
                given += 1;
                let failed = self.discard.discard(range).err();
                if let Some(error) = failed.filter(|_| !self.refused) {
                    self.refused = true;
                    let name = activation.interrupt.name();
                    tracing::warn!("{name}: the host takes no memory back: {error}");
                }
            }
            if ranges.len() > 0 {
                self.under_way = Some(UnderWay {
                    queue,
                    head,
                    ranges,
                });
                break;
            }
            give_back(activation, queue, head).map_err(|error| (queue, error))?;
            requests += 1;
            if given > 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Takes the next request out of the queues that may have some.
fn next<M: GuestMemory>(
    activation: &mut Activation<M>,
    more: &mut [bool; 3],
) -> Result<Option<UnderWay>, (u16, QueueError)> {
    for (number, more) in (0..).zip(more) {
        if !*more {
            continue;
        }
        *more = false;
        let broken = |error| (number, error);
        let Some(queue) = activation.queues.get_mut(usize::from(number)) else {
            continue;
        };
        let Some(chain) = queue.pop(&activation.memory).map_err(broken)? else {
            continue;
        };
        *more = true;
        let ranges = match number {
            INFLATE => named_pages(&chain, &activation.memory, activation.order).map_err(broken)?,
            REPORTING => reported(&chain).collect(),
            // Pages that are taken again are there when they are touched.
            _ => Vec::new(),
        };
        return Ok(Some(UnderWay {
            queue: number,
            head: chain.head,
            ranges: merged(ranges).into_iter(),
        }));
    }
    Ok(None)
}

fn give_back<M: GuestMemory>(
    activation: &mut Activation<M>,
    queue: u16,
    head: u16,
) -> Result<(), QueueError> {
    if let Some(queue) = activation.queues.get_mut(usize::from(queue)) {
        queue.push(&activation.memory, head, 0)?;
        if queue.needs_interrupt(&activation.memory) {
            activation.interrupt.used();
        }
    }
    Ok(())
}

/// The pages whose numbers a request holds.
fn named_pages<M: GuestMemory>(
    chain: &Chain,
    memory: &M,
    order: ByteOrder,
) -> Result<Vec<Range<u64>>, QueueError> {
    let head = chain.head;
    let mut reader = chain.reader(memory);
    if reader.remaining() / 4 > MOST_PAGES {
        let why = "more pages than a driver names at once";
        return Err(QueueError::Request { head, why });
    }
    let mut ranges = Vec::new();
    while let Ok(number) = reader.array() {
        let start = u64::from(order.read_u32(number)) * PAGE;
        // Numbers that are no page of RAM are the guest's own business.
        let access = vm_memory::Permissions::Write;
        if memory.check_range(vm_memory::GuestAddress(start), PAGE as usize, access) {
            ranges.push(start..start + PAGE);
        }
    }
    Ok(ranges)
}

/// The whole pages in a request's buffers, which were found to be in RAM.
fn reported(chain: &Chain) -> impl Iterator<Item = Range<u64>> {
    let pages = |segment: &super::chain::Segment| {
        let start = segment.address.0.next_multiple_of(PAGE);
        let end = segment.address.0 + u64::from(segment.length);
        (start < end - end % PAGE).then(|| start..end - end % PAGE)
    };
    chain.writable().iter().filter_map(pages)
}

/// The ranges in order, those that touch made one.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    ranges
}

impl<M: GuestMemory + Send> VirtioDevice<M> for Balloon<M> {
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        F_DEFLATE_ON_OOM | F_PAGE_REPORTING
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// These fields are little-endian for legacy drivers too (5.5.4.1).
    fn config_read(&mut self, offset: u32, data: &mut [u8], _order: ByteOrder) {
        let fields = &self.target.fields;
        let mut image = [0; 8];
        let words = [&fields.num_pages, &fields.actual];
        for (bytes, word) in image.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::SeqCst).to_le_bytes());
        }
        read_fields(&image, offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], _order: ByteOrder) {
        // A driver before 1.0 writes byte by byte.
        let actual = &self.target.fields.actual;
        let mut bytes = actual.load(Ordering::SeqCst).to_le_bytes();
        for (index, byte) in (offset..).zip(data) {
            if let Some(at) = index
                .checked_sub(4)
                .and_then(|at| bytes.get_mut(at as usize))
            {
                *at = *byte;
            }
        }
        actual.store(u32::from_le_bytes(bytes), Ordering::SeqCst);
    }

    fn activate(&mut self, activation: Activation<M>) {
        *self.target.interrupt() = Some(activation.interrupt.clone());
        self.activation = Some(activation);
    }

    fn notify(&mut self, queue: u16) {
        if let Some(more) = self.more.get_mut(usize::from(queue)) {
            *more = true;
        }
        self.work_off();
    }

    fn has_backlog(&self) -> bool {
        self.under_way.is_some() || self.more.contains(&true)
    }

    fn work_off(&mut self) {
        let served = self.serve();
        if let (Some(activation), Err((queue, error))) = (&mut self.activation, served) {
            activation.break_queue(queue, &error);
        }
    }

    fn reset(&mut self) {
        *self.target.interrupt() = None;
        self.activation = None;
        self.under_way = None;
        self.more = [false; 3];
        self.target.fields.actual.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::test_support::driver::Driver;

    struct Bench {
        balloon: Balloon<GuestMemoryMmap>,
        memory: GuestMemoryMmap,
        drivers: [Driver; 3],
        interrupt: Interrupt,
        given: Arc<Mutex<Vec<Range<u64>>>>,
    }

    struct Record(Arc<Mutex<Vec<Range<u64>>>>);

    impl Discard for Record {
        fn discard(&mut self, range: Range<u64>) -> std::io::Result<()> {
            self.0.lock().unwrap().push(range);
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    fn bench(order: ByteOrder) -> Bench {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        bench_in(memory, order)
    }

    fn bench_in(memory: GuestMemoryMmap, order: ByteOrder) -> Bench {
        let given = Arc::new(Mutex::new(Vec::new()));
        let mut balloon = Balloon::new(Box::new(Record(given.clone())));
        let drivers = [0x1000, 0x1_0000, 0x2_0000].map(|base| Driver::new(order, base, 128, false));
        let interrupt = Interrupt::new("balloon", IrqLine::detached());
        let queues = drivers
            .iter()
            .map(|driver| driver.queue(&memory).unwrap())
            .collect();
        balloon.activate(Activation {
            memory: memory.clone(),
            queues,
            features: 0,
            order,
            interrupt: interrupt.clone(),
        });
        Bench {
            balloon,
            memory,
            drivers,
            interrupt,
            given,
        }
    }

    #[test]
    fn pages_that_are_named_are_given_back_in_ranges() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut bench = bench(order);
            let numbers = [0x82u32, 0x80, 0x81, 0x90, 0x90, 0x100, u32::MAX];
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| order.put_u32(*n)).collect();
            let offer = bench.drivers[0].offer(&bench.memory, &[&bytes], &[]);
            bench.balloon.notify(0);
            let given = std::mem::take(&mut *bench.given.lock().unwrap());
            assert_eq!(given, [0x8_0000..0x8_3000, 0x9_0000..0x9_1000]);
            assert_eq!(bench.drivers[0].used(&bench.memory), Some((offer.head, 0)));
            bench.drivers[1].offer(&bench.memory, &[&bytes], &[]);
            bench.balloon.notify(1);
            assert_eq!(*bench.given.lock().unwrap(), [], "taken again");
            assert!(bench.drivers[1].used(&bench.memory).is_some());
        }
    }

    #[test]
    fn a_request_for_many_scattered_pages_is_done_in_parts() {
        let mut bench = bench(ByteOrder::Little);
        // Every other page: none of them touch.
        let numbers = (0..600u32).map(|number| 2 * (number % 128));
        let scattered: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
        let far: Vec<u8> = (0..0x80u32).flat_map(|n| (2 * n).to_le_bytes()).collect();
        let first = bench.drivers[0].offer(&bench.memory, &[&scattered], &[]);
        let others = [0; 3].map(|_| bench.drivers[0].offer(&bench.memory, &[&far], &[]));
        let given = |bench: &Bench| bench.given.lock().unwrap().len();
        bench.balloon.notify(0);
        assert_eq!(given(&bench), 128);
        assert_eq!(bench.drivers[0].used(&bench.memory), Some((first.head, 0)));
        for (index, offer) in others.iter().enumerate() {
            assert!(bench.balloon.has_backlog(), "{index}");
            assert_eq!(bench.drivers[0].used(&bench.memory), None);
            bench.balloon.work_off();
            assert_eq!(bench.drivers[0].used(&bench.memory), Some((offer.head, 0)));
        }
        bench.balloon.work_off();
        assert!(!bench.balloon.has_backlog());
        assert_eq!(given(&bench), 4 * 128);

        bench.drivers[0].offer(&bench.memory, &[&far], &[]);
        bench.balloon.notify(0);
        bench.balloon.reset();
        assert!(!bench.balloon.has_backlog());
    }

    #[test]
    fn a_request_of_more_ranges_than_are_given_at_once_comes_back_when_all_are() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap();
        let mut bench = bench_in(memory, ByteOrder::Little);
        let numbers: Vec<u8> = (0..700u32).flat_map(|n| (2 * n).to_le_bytes()).collect();
        let offer = bench.drivers[0].offer(&bench.memory, &[&numbers], &[]);
        bench.balloon.notify(0);
        for given in [256, 512] {
            assert_eq!(bench.given.lock().unwrap().len(), given);
            assert!(bench.balloon.has_backlog());
            assert_eq!(bench.drivers[0].used(&bench.memory), None);
            assert_eq!(bench.interrupt.status(), 0);
            bench.balloon.work_off();
        }
        assert_eq!(bench.given.lock().unwrap().len(), 700);
        assert_eq!(bench.drivers[0].used(&bench.memory), Some((offer.head, 0)));
        assert_eq!(bench.interrupt.status(), 1);
    }

    #[test]
    fn pages_that_are_reported_are_given_back_whole_ones_only() {
        let mut bench = bench(ByteOrder::Little);
        let driver = &mut bench.drivers[2];
        driver.describe(&bench.memory, 0x2_0000, 0, (0x4_0000, 0x8000, 3, 1));
        driver.describe(&bench.memory, 0x2_0000, 1, (0x5_0800, 0x1000, 3, 2));
        driver.describe(&bench.memory, 0x2_0000, 2, (0x6_0800, 0x2000, 2, 0));
        driver.make_available(&bench.memory, 0);
        bench.balloon.notify(2);
        let given = bench.given.lock().unwrap().clone();
        assert_eq!(given, [0x4_0000..0x4_8000, 0x6_1000..0x6_2000]);
        assert_eq!(bench.interrupt.status(), 1);
    }

    #[test]
    fn the_target_is_a_field_and_what_the_guest_gave_another() {
        let mut bench = bench(ByteOrder::Big);
        let target = bench.balloon.target();
        target.set(0x0102);
        assert_eq!(bench.interrupt.status(), 2);
        let mut data = [0; 4];
        bench.balloon.config_read(0, &mut data, ByteOrder::Big);
        assert_eq!(data, [2, 1, 0, 0]);
        for (offset, byte) in (4..).zip([0x34, 0x12, 0, 0, 9]) {
            bench.balloon.config_write(offset, &[byte], ByteOrder::Big);
        }
        bench.balloon.config_write(0, &[9; 4], ByteOrder::Big);
        assert_eq!(target.actual(), 0x1234);
        let state = target.state();
        assert_eq!((state.num_pages, state.actual), (0x0102, 0x1234));
        target.set_state(State::default());
        assert_eq!(target.state(), State::default());
        target.set_state(state);
        bench.balloon.reset();
        target.set(1);
        assert_eq!(target.actual(), 0);
    }
}
