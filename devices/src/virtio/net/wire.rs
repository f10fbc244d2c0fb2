//! What is at the far end of a network device's wire, and what a frame on it may still need.

/// A checksum that is yet to be filled in, as `csum_start` and `csum_offset` say it (virtio 1.2,
/// section 5.1.6): the field holds the sum of the pseudo header already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the sum starts, in bytes from the start of the frame.
    pub start: u16,
    /// Where the field is, in bytes from `start`.
    pub offset: u16,
}

/// A TCP segment over IPv4 that is yet to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of data for each segment, not 0.
    pub size: u16,
    /// Bytes of Ethernet, IP and TCP headers, which each segment repeats.
    pub headers: u16,
    /// The first segment alone carries CWR (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
}

/// What a frame still needs before a plain wire could carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum that is yet to be filled in.
    pub checksum: Option<PartialChecksum>,
    /// How it is to be cut; comes with a `checksum`.
    pub segmentation: Option<Segmentation>,
}

/// Which work two ends leave to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// The guest may send frames with a [`PartialChecksum`].
    pub from_guest_checksum: bool,
    /// The guest may send frames with a [`Segmentation`].
    pub from_guest_segments: bool,
    /// The guest takes frames with a [`PartialChecksum`].
    pub to_guest_checksum: bool,
    /// The guest takes frames with a [`Segmentation`].
    pub to_guest_segments: bool,
}

impl Offloads {
    /// All work that two ends can leave to each other.
    pub const ALL: Offloads = Offloads {
        from_guest_checksum: true,
        from_guest_segments: true,
        to_guest_checksum: true,
        to_guest_segments: true,
    };

    /// Plain Ethernet frames both ways.
    pub const NONE: Offloads = Offloads {
        from_guest_checksum: false,
        from_guest_segments: false,
        to_guest_checksum: false,
        to_guest_segments: false,
    };
}

/// The most bytes of a frame: an Ethernet header and an IP packet of the largest length.
pub const LARGEST_FRAME: usize = 14 + 65535;

/// The least bytes of a frame: an Ethernet header.
pub const SMALLEST_FRAME: usize = 14;

/// The far end of a network device's wire. No call blocks.
pub trait Wire: Send {
    /// What this end can do, whatever the guest then takes of it.
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// The guest's driver is there and takes `offloads`, or is gone (`None`).
    fn attach(&mut self, _offloads: Option<Offloads>) {}

    /// Whether [`Wire::send`] has room for a frame.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// Takes a frame from the guest, of 14 bytes or more. One that cannot be used is lost.
    fn send(&mut self, frame: &[u8], offload: Offload);

    /// The next frame for the guest, which stays the next one until [`Wire::received`].
    fn receive(&mut self) -> Option<(&[u8], Offload)>;

    /// The frame that [`Wire::receive`] showed is with the guest, or cannot be.
    fn received(&mut self);
}
