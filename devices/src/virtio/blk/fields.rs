//! The configuration fields (virtio 1.2, 5.2.4).

use super::{MAX_DISCARD_SECTORS, MAX_RANGES, MAX_ZEROES_SECTORS, SECTOR, SEG_MAX, State};
use crate::virtio::ByteOrder;

const CAPACITY: usize = 0;
const SEG_MAX_FIELD: usize = 12;
const BLK_SIZE: usize = 20;
/// `writeback`, the only field that a driver writes.
pub const WRITEBACK: u32 = 32;
const NUM_QUEUES: usize = 34;
const MAX_DISCARD: usize = 36;
const MAX_DISCARD_SEG: usize = 40;
const DISCARD_SECTOR_ALIGNMENT: usize = 44;
const MAX_WRITE_ZEROES: usize = 48;
const MAX_WRITE_ZEROES_SEG: usize = 52;
const WRITE_ZEROES_MAY_UNMAP: usize = 56;
const END: usize = 60;

/// All fields as they lie in memory. Those whose feature is not offered are zeros, like geometry and
/// topology.
pub fn image(sectors: u64, queues: u16, state: State, order: ByteOrder) -> [u8; END] {
    let mut image = [0; END];
    let mut word = |at: usize, value| image[at..at + 4].copy_from_slice(&order.put_u32(value));
    word(SEG_MAX_FIELD, SEG_MAX);
    word(BLK_SIZE, SECTOR as u32);
    word(MAX_DISCARD, MAX_DISCARD_SECTORS);
    word(MAX_DISCARD_SEG, MAX_RANGES);
    word(DISCARD_SECTOR_ALIGNMENT, 1);
    word(MAX_WRITE_ZEROES, MAX_ZEROES_SECTORS);
    word(MAX_WRITE_ZEROES_SEG, MAX_RANGES);
    image[CAPACITY..CAPACITY + 8].copy_from_slice(&order.put_u64(sectors));
    image[NUM_QUEUES..NUM_QUEUES + 2].copy_from_slice(&order.put_u16(queues));
    image[WRITEBACK as usize] = state.writeback.into();
    image[WRITE_ZEROES_MAY_UNMAP] = 1;
    image
}
