//! Byte lanes: accesses of any width and alignment to registers of 32 bits.

use crate::bus::AccessError;

/// Which byte of a register has the lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The most significant, as on the chip's own buses.
    Big,
    /// The least significant, as on PCI.
    Little,
}

/// The offsets of successive bytes, for registers that are bytes.
pub(crate) fn successive(offset: u32) -> impl Iterator<Item = u32> {
    (0..=u32::MAX).map(move |distance| offset.wrapping_add(distance))
}

/// Splits `length` bytes from `offset` at words: the word's offset, its first lane, and which bytes.
fn pieces(
    offset: u32,
    length: usize,
) -> impl Iterator<Item = (u32, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let at = offset.wrapping_add(done as u32);
        let lane = (at & 3) as usize;
        let bytes = done..length.min(done + 4 - lane);
        done = bytes.end;
        Some((at & !3, lane, bytes))
    })
}

/// Fills `data` from the words at and after `offset`; `word` is asked once for each.
pub(crate) fn read(
    order: Order,
    offset: u32,
    data: &mut [u8],
    mut word: impl FnMut(u32) -> Result<u32, AccessError>,
) -> Result<(), AccessError> {
    for (at, lane, bytes) in pieces(offset, data.len()) {
        let value = word(at)?;
        let value = match order {
            Order::Big => value.to_be_bytes(),
            Order::Little => value.to_le_bytes(),
        };
        for (to, from) in data[bytes].iter_mut().zip(value.iter().skip(lane)) {
            *to = *from;
        }
    }
    Ok(())
}

/// Hands each word that `data` touches to `word`: its offset, the value, and a mask of the bits
/// that were written. Bits outside the mask are 0 in the value.
pub(crate) fn write(
    order: Order,
    offset: u32,
    data: &[u8],
    mut word: impl FnMut(u32, u32, u32) -> Result<(), AccessError>,
) -> Result<(), AccessError> {
    for (at, lane, bytes) in pieces(offset, data.len()) {
        let mut value = [0; 4];
        let mut mask = [0; 4];
        let lanes = value.iter_mut().zip(mask.iter_mut()).skip(lane);
        for ((to, touched), from) in lanes.zip(&data[bytes]) {
            *to = *from;
            *touched = 0xFF;
        }
        let (value, mask) = match order {
            Order::Big => (u32::from_be_bytes(value), u32::from_be_bytes(mask)),
            Order::Little => (u32::from_le_bytes(value), u32::from_le_bytes(mask)),
        };
        word(at, value, mask)?;
    }
    Ok(())
}

/// What a register holds after a write to the bits in `mask`.
pub(crate) fn merge(old: u32, value: u32, mask: u32) -> u32 {
    (old & !mask) | (value & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(order: Order, offset: u32, data: &[u8]) -> Vec<(u32, u32, u32)> {
        let mut words = Vec::new();
        write(order, offset, data, |at, value, mask| {
            words.push((at, value, mask));
            Ok(())
        })
        .unwrap();
        words
    }

    #[test]
    fn a_byte_lands_in_its_lane() {
        assert_eq!(
            written(Order::Big, 5, &[0xAB]),
            [(4, 0x00AB_0000, 0x00FF_0000)]
        );
        assert_eq!(
            written(Order::Little, 5, &[0xAB]),
            [(4, 0x0000_AB00, 0x0000_FF00)]
        );
    }

    #[test]
    fn a_wide_or_unaligned_access_is_split_at_words() {
        assert_eq!(
            written(Order::Big, 0, &[1, 2, 3, 4, 5, 6, 7, 8]),
            [(0, 0x0102_0304, u32::MAX), (4, 0x0506_0708, u32::MAX)]
        );
        assert_eq!(
            written(Order::Big, 2, &[1, 2, 3, 4]),
            [(0, 0x0000_0102, 0x0000_FFFF), (4, 0x0304_0000, 0xFFFF_0000)]
        );
        let mut data = [0; 4];
        read(Order::Little, 3, &mut data, |at| {
            Ok(if at == 0 { 0x4433_2211 } else { 0x8877_6655 })
        })
        .unwrap();
        assert_eq!(data, [0x44, 0x55, 0x66, 0x77]);
    }

    #[test]
    fn merge_keeps_the_lanes_that_were_not_written() {
        assert_eq!(merge(0x1234_5678, 0x00AB_0000, 0x00FF_0000), 0x12AB_5678);
    }
}
