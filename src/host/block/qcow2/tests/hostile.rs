//! Images that somebody damaged, or made to get more than a disk.

use super::*;

/// A sound image with data in two L2 tables.
fn sound() -> Vec<u8> {
    let kind = Kind::SMALL;
    let memory = kind.create();
    let image = kind.open(&memory, true).unwrap();
    for at in [0, 3, 70, 71, 130] {
        image.write(at * SECTOR, &sector(at + 1)).unwrap();
    }
    drop(image);
    memory.bytes()
}

fn field(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn refused(bytes: Vec<u8>) -> String {
    match Kind::SMALL.open(&Memory::new(bytes), true) {
        Ok(_) => panic!("it was opened"),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn tables_that_are_not_counted_or_overlap_are_refused() {
    let good = sound();
    assert!(Kind::SMALL.open(&Memory::new(good.clone()), true).is_ok());
    let table = field(&good, 48) as usize;
    let block = field(&good, table) as usize;
    let l1 = field(&good, 40) as usize;
    let l2 = (field(&good, l1) & !(1 << 63)) as usize;
    let data = (field(&good, l2) & !(1 << 63)) as usize;
    let count = |at: usize| block + at / 512 * 2;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let leads_to = |at: usize| ((at as u64) | 1 << 63).to_be_bytes();
    for (bytes, part) in [
        // The header's own cluster counts as free: it would be handed out.
        (
            with(count(0), &[0, 0]),
            "the header at 0x0 has reference count 0",
        ),
        (with(table, &[0; 8]), "has reference count 0"),
        (with(count(table), &[0, 0]), "the refcount table at"),
        (with(count(block), &[0, 0]), "the refcount block at"),
        (with(count(l1), &[0, 0]), "the L1 table at"),
        (with(count(l2), &[0, 0]), "the L2 table at"),
        (with(count(l2), &[0, 2]), "counts as referred to once"),
        (
            with(count(data), &[0, 0]),
            "leads to a cluster with reference count 0",
        ),
        (with(count(data), &[0, 2]), "counts as the only reference"),
        // The guest would write tables.
        (
            with(l2, &leads_to(block)),
            "leads to a table of the image's own",
        ),
        (
            with(l2, &leads_to(table)),
            "leads to a table of the image's own",
        ),
        (
            with(l2, &leads_to(l1)),
            "leads to a table of the image's own",
        ),
        (
            with(l2, &leads_to(l2)),
            "leads to a table of the image's own",
        ),
        (with(l2 + 8, &leads_to(data)), "that another entry has"),
        (with(l2, &leads_to(1 << 30)), "leads out of the file"),
        (with(l2, &[0, 0, 0, 0, 0, 0, 0, 2]), "an L2 entry is 0x2"),
        (with(l1, &leads_to(block)), "overlaps another table"),
        (with(l1 + 8, &leads_to(l2)), "overlaps another table"),
        (with(l1, &leads_to(1 << 30)), "is not in the file"),
        (
            with(table + 8, &(block as u64).to_be_bytes()),
            "overlaps another table",
        ),
        (
            with(40, &(table as u64).to_be_bytes()),
            "overlaps another table",
        ),
        (with(48, &[0; 8]), "refcount table is at 0x0"),
        (with(36, &[0x7F, 0, 0, 0]), "L1 table has"),
        (with(56, &[0x7F, 0, 0, 0]), "refcount table has"),
        (with(60, &[0x7F, 0, 0, 0]), "snapshots"),
        (
            with(60, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x40, 0]),
            "snapshot",
        ),
        (with(96, &[0, 0, 0, 7]), "2^7 bits"),
    ] {
        let error = refused(bytes);
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn unsound_images_may_be_read_and_not_written() {
    for bit in [1, 2] {
        let mut bytes = sound();
        bytes[79] = bit;
        let before = bytes.clone();
        let memory = Memory::new(bytes.clone());
        let image = Kind::SMALL.open(&memory, false).unwrap();
        let mut read = vec![0; 512];
        image.read(3 * SECTOR, &mut read).unwrap();
        assert!(read == sector(4));
        drop(image);
        assert!(memory.bytes() == before);
        refused(bytes);
    }
}

#[test]
fn features_that_are_not_known_are_refused_by_their_names() {
    let mut bytes = sound();
    bytes[78] = 1;
    let names = [
        &[0x68, 0x03, 0xF8, 0x57, 0, 0, 0, 48, 0, 8][..],
        b"time travel\x1b[2J",
    ]
    .concat();
    bytes[104..104 + names.len()].copy_from_slice(&names);
    let error = refused(bytes);
    assert!(
        error.contains("incompatible feature 8 (`time travel[2J`)"),
        "{error}"
    );
}

#[test]
fn autoclear_features_are_cleared_by_who_writes() {
    let mut bytes = sound();
    bytes[95] = 1;
    let memory = Memory::new(bytes);
    drop(Kind::SMALL.open(&memory, false).unwrap());
    assert_eq!(memory.bytes()[95], 1);
    drop(Kind::SMALL.open(&memory, true).unwrap());
    assert_eq!(memory.bytes()[88..96], [0; 8]);
}

/// Whatever the file holds, opening and using it ends, and the header's names stay as they were.
#[test]
fn random_damage_is_refused_or_harmless() {
    let good = sound();
    let compressed = compressed();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut opened = 0;
    for round in 0..4000 {
        let mut bytes = match round % 4 {
            0 => compressed.clone(),
            _ => good.clone(),
        };
        for _ in 0..=random.below(3) {
            // Mostly fields and entries, mostly with values that look like some.
            let at = (random.below(bytes.len() as u64 / 8) * 8) as usize;
            match random.below(4) {
                0 => bytes[at + random.below(8) as usize] = random.below(256) as u8,
                1 => bytes[at..at + 8].copy_from_slice(&[0; 8]),
                kind => {
                    let place = random.below(bytes.len() as u64 / 512) * 512;
                    let flags = [0, 1 << 63, 1, 1 << 62][random.below(4) as usize];
                    let _ = kind;
                    bytes[at..at + 8].copy_from_slice(&(place | flags).to_be_bytes());
                }
            }
        }
        let before = bytes[..72].to_vec();
        let memory = Memory::new(bytes);
        let writable = round % 8 != 0;
        let Ok(image) = Kind::SMALL.open(&memory, writable) else {
            continue;
        };
        opened += 1;
        for _ in 0..20 {
            let sectors = image.size().min(1 << 20) / 512;
            let at = random.below(sectors) * SECTOR;
            let mut buffer = vec![0; 1024];
            let count = (image.size() - at).min(1024);
            let _ = image.read(at, &mut buffer[..count as usize]);
            if writable {
                let _ = image.write(at, &buffer[..count as usize]);
                let _ = image.discard(at, count);
                let _ = image.write_zeroes(at, count, random.below(2) == 0);
                if random.below(4) == 0 {
                    let _ = image.flush();
                }
            }
        }
        drop(image);
        // Of the header, only the place of the refcount table may be another one.
        assert!(memory.bytes()[..48] == before[..48], "round {round}");
        assert!(memory.bytes()[60..72] == before[60..72], "round {round}");
    }
    assert!(opened > 400, "{opened}");
}

fn compressed() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("raw"), folder.path().join("image"));
    let contents: Vec<u8> = (0..64).flat_map(|at| sector(at / 3)).collect();
    std::fs::write(&raw, contents).unwrap();
    let names = (raw.to_str().unwrap(), image.to_str().unwrap());
    let options = [
        "convert",
        "-c",
        "-O",
        "qcow2",
        "-o",
        "cluster_size=4k",
        names.0,
        names.1,
    ];
    qemu_img(&options, &[0]);
    std::fs::read(image).unwrap()
}
