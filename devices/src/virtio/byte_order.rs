//! In which order numbers lie in guest memory.

/// The byte order of a device's configuration fields and of the headers of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// VIRTIO_F_VERSION_1: little-endian whatever the guest is.
    Little,
    /// A legacy driver on this big-endian guest: the guest's own order (virtio 1.2, 2.4.3).
    Big,
}

macro_rules! conversions {
    ($($read:ident $write:ident $number:ty, $bytes:literal;)*) => {$(
        /// The number that bytes in guest memory stand for.
        pub fn $read(self, bytes: [u8; $bytes]) -> $number {
            match self {
                ByteOrder::Little => <$number>::from_le_bytes(bytes),
                ByteOrder::Big => <$number>::from_be_bytes(bytes),
            }
        }

        /// A number as bytes in guest memory.
        pub fn $write(self, value: $number) -> [u8; $bytes] {
            match self {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            }
        }
    )*};
}

impl ByteOrder {
    conversions! {
        read_u16 put_u16 u16, 2;
        read_u32 put_u32 u32, 4;
        read_u64 put_u64 u64, 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_drivers_order() {
        assert_eq!(ByteOrder::Little.put_u16(0x0102), [2, 1]);
        assert_eq!(ByteOrder::Big.put_u32(0x0102_0304), [1, 2, 3, 4]);
        assert_eq!(ByteOrder::Big.read_u64([0, 0, 0, 0, 0, 0, 1, 2]), 0x102);
    }
}
