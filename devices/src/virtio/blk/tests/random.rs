//! Random requests against a model of the disk, and random memory against everything.
//!
//! `PPCKVM_SEED` chooses the first request. With `PPCKVM_LONG` set there are a million of them.

use super::*;
use crate::test_support::{Dice, cases, seed};

/// Cuts bytes into one to four pieces.
fn pieces<'a>(random: &mut Dice, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for _ in 0..random.below(4) {
        let at = random.below(rest.len() as u64 + 1) as usize;
        let (piece, behind) = rest.split_at(at);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

#[test]
fn the_disk_is_what_the_answered_requests_made_of_it() {
    let mut random = Dice::new(seed(440));
    let mut kinds = [0_u64; 3];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut bench = Bench::new(Disk::new(), order);
        let mut model = bench.disk.at(0, (SECTORS * SECTOR) as usize);
        for number in 0..cases(40_000, 1_000_000) / 2 {
            let status = one_request(&mut random, &mut bench, &mut model, number);
            kinds[status as usize] += 1;
            bench.disk.take_events();
            if number % 1024 == 0 {
                assert_eq!(bench.disk.at(0, model.len()), model, "request {number}");
            }
        }
        assert_eq!(bench.disk.at(0, model.len()), model);
        assert!(!bench.interrupt.is_reset_needed());
    }
    // All ends were met, so the cases mean something.
    assert!(kinds.iter().all(|count| *count > 1000), "{kinds:?}");
}

/// Sends a request of any kind, right or wrong, and checks its answer and its data; the status.
fn one_request(random: &mut Dice, bench: &mut Bench, model: &mut [u8], number: u64) -> u8 {
    // Some begin or end behind the end of the disk, or are no whole sectors.
    let sector = random.below(SECTORS + 4);
    let mut length = (random.below(6) * SECTOR) as usize;
    if random.once_in(16) {
        length += random.below(511) as usize + 1;
    }
    let on_disk =
        length.is_multiple_of(SECTOR as usize) && sector + length as u64 / SECTOR <= SECTORS;
    let at = (sector * SECTOR) as usize;
    match random.below(8) {
        0..=2 => {
            let header = bench.header(spec::VIRTIO_BLK_T_IN, sector);
            let first = random.below(length as u64 + 1) as u32;
            let (data, status) = bench.ask(&[&header], &[first, length as u32 - first]);
            assert_eq!(status, if on_disk { OK } else { IOERR }, "request {number}");
            if on_disk {
                assert_eq!(data, model[at..at + length], "request {number}");
            }
            status
        }
        3..=5 => {
            let data = random.bytes(length);
            let mut request = bench.header(spec::VIRTIO_BLK_T_OUT, sector);
            request.extend(&data);
            let status = bench.ask(&pieces(random, &request), &[]).1;
            assert_eq!(status, if on_disk { OK } else { IOERR }, "request {number}");
            if on_disk {
                model[at..at + length].copy_from_slice(&data);
            }
            status
        }
        6 => {
            let count = random.below(4) as u32;
            let flags = random.below(3) as u32;
            let range = bench.range(sector, count, flags);
            let status = bench.tell(spec::VIRTIO_BLK_T_WRITE_ZEROES, 0, &range);
            let expected = match () {
                () if flags > 1 => UNSUPP,
                () if sector + u64::from(count) > SECTORS => IOERR,
                () => OK,
            };
            assert_eq!(status, expected, "request {number}");
            if status == OK {
                model[at..at + count as usize * SECTOR as usize].fill(0);
            }
            status
        }
        _ => {
            let kind = random.below(32) as u32;
            let status = match kind {
                // Those have their own arms.
                spec::VIRTIO_BLK_T_OUT | spec::VIRTIO_BLK_T_IN => return OK,
                kind => bench.tell(kind, sector, &[]),
            };
            let expected = match kind {
                spec::VIRTIO_BLK_T_FLUSH | spec::VIRTIO_BLK_T_GET_ID => OK,
                spec::VIRTIO_BLK_T_DISCARD | spec::VIRTIO_BLK_T_WRITE_ZEROES => IOERR,
                _ => UNSUPP,
            };
            assert_eq!(status, expected, "request {number} of kind {kind}");
            status
        }
    }
}

#[test]
fn whatever_is_in_memory_the_device_comes_to_an_end() {
    let mut random = Dice::new(seed(440));
    let rounds = cases(20_000, 1_000_000);
    let mut broken = 0;
    for round in 0..rounds {
        let order = [ByteOrder::Little, ByteOrder::Big][(round % 2) as usize];
        // One device lives for some rounds; a new one has fresh memory.
        let mut bench = Bench::new(Disk::new(), order);
        bench.driver.offer(&bench.memory, &[&[0; 16]], &[512, 1]);
        let mut idx = 1;
        for _ in 0..8 {
            let count = random.below(64) as usize + 1;
            let bytes = match random.below(3) {
                // Small numbers make more sense as lengths, flags and indices.
                0 => (0..count).map(|_| random.below(4) as u8).collect(),
                1 => vec![0; count],
                _ => random.bytes(count),
            };
            let at = BASE + random.below(0x2100);
            bench.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
            // Mostly a few more buffers, as the index says; a ring that lies about it breaks.
            if !random.once_in(8) {
                idx += random.below(3) as u16;
                bench.driver.set_avail_idx(&bench.memory, idx);
            }
            VirtioDevice::<Memory>::notify(&mut bench.device, 0);
        }
        broken += u64::from(bench.interrupt.is_reset_needed());
        let bytes = bench.disk.bytes.lock().unwrap();
        assert_eq!(bytes.len() as u64, SECTORS * SECTOR);
    }
    assert!(
        broken > rounds / 50 && broken < rounds,
        "{broken} of {rounds}"
    );
}
