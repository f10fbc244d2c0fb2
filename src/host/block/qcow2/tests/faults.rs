//! One failed operation of the host's at a place that matters.

use super::memory::Done;
use super::*;

fn numbers(from: u64, count: u64) -> Vec<u8> {
    (from..from + count).flat_map(sector).collect()
}

fn read(image: &Qcow2, at: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; (count * SECTOR) as usize];
    image.read(at * SECTOR, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_flush_that_could_not_write_the_l1_table_is_made_good_by_the_next_one() {
    let kind = Kind::SMALL;
    let memory = kind.create();
    let header = Header::read(&memory).unwrap();
    let l1 = header.l1.at;
    let image = kind.open(&memory, true).unwrap();
    image.write(0, &numbers(1, 70)).unwrap();
    let mut failed = false;
    memory.fail_when(move |_, done| {
        let hit = matches!(done, Done::Write { at, .. } if (l1..l1 + 512).contains(at));
        hit && !std::mem::replace(&mut failed, true)
    });
    assert!(image.flush().is_err());
    image.write(70 * SECTOR, &numbers(71, 5)).unwrap();
    image.flush().unwrap();
    // Killed: nothing but the file is left.
    let left = Memory::new(memory.bytes());
    checker::leaks(&left.bytes()).unwrap();
    assert!(read(&kind.open(&left, true).unwrap(), 0, 75) == numbers(1, 75));
}

#[test]
fn after_a_failed_sync_every_write_and_flush_fails_and_reads_go_on() {
    let kind = Kind::SMALL;
    for which in 0..3 {
        let memory = kind.create();
        let image = kind.open(&memory, true).unwrap();
        image.write(0, &numbers(1, 3)).unwrap();
        image.flush().unwrap();
        image.write(70 * SECTOR, &numbers(4, 3)).unwrap();
        let mut syncs = 0;
        memory.fail_when(move |_, done| {
            let sync = matches!(done, Done::Sync);
            syncs += usize::from(sync);
            sync && syncs == which + 1
        });
        assert!(image.flush().is_err());
        assert!(image.flush().is_err());
        assert!(image.write(0, &numbers(9, 1)).is_err());
        assert!(image.discard(0, 512).is_err());
        assert!(image.write_zeroes(0, 512, true).is_err());
        assert!(read(&image, 0, 3) == numbers(1, 3));
        let before = memory.logged();
        drop(image);
        assert_eq!(memory.logged(), before, "it wrote at its end");
        let left = kind.open(&Memory::new(memory.bytes()), true).unwrap();
        assert!(read(&left, 0, 3) == numbers(1, 3));
    }
}

#[test]
fn a_full_host_is_an_error_and_room_later_makes_it_good() {
    let kind = Kind::SMALL;
    let memory = kind.create();
    let image = kind.open(&memory, true).unwrap();
    let end = memory.length().unwrap() + 10 * 512;
    memory.fail_when(
        move |_, done| matches!(done, Done::Write { at, bytes } if at + bytes.len() as u64 > end),
    );
    let mut written = 0;
    while image
        .write(written * SECTOR, &numbers(written + 1, 1))
        .is_ok()
    {
        written += 1;
    }
    assert!(written > 5, "{written}");
    memory.fail_when(|_, _| false);
    image
        .write(written * SECTOR, &numbers(written + 1, 1))
        .unwrap();
    image.flush().unwrap();
    let left = kind.open(&Memory::new(memory.bytes()), true).unwrap();
    assert!(read(&left, 0, written + 1) == numbers(1, written + 1));
}

#[test]
fn a_block_device_that_is_full_takes_no_more() {
    let kind = Kind::SMALL;
    let bytes = kind.create().bytes();
    let end = bytes.len() as u64 + 20 * 512;
    let memory = Memory::new(bytes).limited(end);
    let image = kind.open(&memory, true).unwrap();
    let mut written = 0;
    while image
        .write(written * SECTOR, &numbers(written + 1, 1))
        .is_ok()
    {
        written += 1;
    }
    assert!((10..20).contains(&written), "{written}");
    image.flush().unwrap();
    // What is given back can be used, after it is given back for good.
    image.discard(0, 3 * SECTOR).unwrap();
    assert!(image.write(40 * SECTOR, &numbers(99, 1)).is_err());
    image.flush().unwrap();
    image.write(40 * SECTOR, &numbers(99, 1)).unwrap();
    image.flush().unwrap();
    checker::leaks(&memory.bytes()).unwrap();
}
