//! Checks an image's tables from its bytes alone, sharing nothing with the code that wrote them.

use std::collections::HashMap;

fn number(bytes: &[u8], at: u64, length: usize) -> u64 {
    let at = at as usize;
    let field = bytes.get(at..at + length);
    let field = field.unwrap_or_else(|| panic!("nothing at {at:#x}"));
    field
        .iter()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// References of which the image counts too many: clusters that are lost to it, which is no damage.
pub fn leaks(bytes: &[u8]) -> Result<u64, String> {
    let bits = number(bytes, 20, 4);
    let cluster = 1_u64 << bits;
    let order = match number(bytes, 4, 4) {
        2 => 4,
        _ => number(bytes, 96, 4),
    };
    let mut references: HashMap<u64, u64> = HashMap::new();
    let mut refer = |at: u64, length: u64| {
        for cluster in at >> bits..(at + length).div_ceil(cluster) {
            *references.entry(cluster).or_default() += 1;
        }
    };
    refer(0, cluster);
    let (table, clusters) = (number(bytes, 48, 8), number(bytes, 56, 4));
    refer(table, clusters << bits);
    let mut blocks = Vec::new();
    for entry in 0..clusters * cluster / 8 {
        let at = number(bytes, table + entry * 8, 8);
        blocks.push(at);
        if at != 0 {
            refer(at, cluster);
        }
    }
    let mut tables = vec![(number(bytes, 40, 8), number(bytes, 36, 4), true)];
    let mut at = number(bytes, 64, 8);
    let start = at;
    for _ in 0..number(bytes, 60, 4) {
        tables.push((number(bytes, at, 8), number(bytes, at + 8, 4), false));
        let names = number(bytes, at + 12, 2) + number(bytes, at + 14, 2);
        at = (at + 40 + number(bytes, at + 36, 4) + names).next_multiple_of(8);
    }
    refer(start, at - start);
    const OFFSET: u64 = (1 << 56) - 512;
    let mut copied = Vec::new();
    for (table, entries, own) in tables {
        refer(table, entries * 8);
        for number_of in 0..entries {
            let l1 = number(bytes, table + number_of * 8, 8);
            if l1 & OFFSET == 0 {
                continue;
            }
            refer(l1 & OFFSET, cluster);
            if own {
                copied.push((l1 & OFFSET, l1 >> 63 == 1));
            }
            for number_of in 0..cluster / 8 {
                let l2 = number(bytes, (l1 & OFFSET) + number_of * 8, 8);
                if l2 >> 62 & 1 == 1 {
                    let split = 62 - (bits - 8);
                    let at = l2 & ((1 << split) - 1);
                    let sectors = (l2 >> split & ((1 << (bits - 8)) - 1)) + 1;
                    let start = at & !511;
                    refer(start, sectors * 512);
                } else if l2 & OFFSET != 0 {
                    if (l2 & OFFSET) >= bytes.len() as u64 && l2 & 1 == 0 {
                        return Err(format!("data at {l2:#x}, beyond the end"));
                    }
                    refer(l2 & OFFSET, cluster);
                    if own {
                        copied.push((l2 & OFFSET, l2 >> 63 == 1));
                    }
                }
            }
        }
    }
    let per_block = (cluster * 8) >> order;
    let count = |cluster: u64| match blocks.get((cluster / per_block) as usize) {
        None | Some(0) => 0,
        Some(block) => {
            let width = 1_u64 << order;
            let bit = (cluster % per_block) * width;
            match width {
                1 | 2 | 4 => (number(bytes, block + bit / 8, 1) >> (bit % 8)) & ((1 << width) - 1),
                _ => number(bytes, block + bit / 8, width as usize / 8),
            }
        }
    };
    for (cluster, references) in &references {
        if count(*cluster) < *references {
            let counted = count(*cluster);
            return Err(format!(
                "cluster {cluster:#x}: {counted} of {references} counted"
            ));
        }
    }
    for (at, copied) in copied {
        if copied != (count(at >> bits) == 1) {
            return Err(format!("{at:#x}: copied is {copied}"));
        }
    }
    let all = blocks.len() as u64 * per_block;
    Ok((0..all.min(bytes.len() as u64 / cluster + 4096))
        .map(|cluster| count(cluster) - references.get(&cluster).copied().unwrap_or(0))
        .sum())
}
