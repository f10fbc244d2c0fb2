//! What a protocol works with: the time, the link to the guest, the host's sockets, and
//! the packet that came.

use smoltcp::wire::Ipv4Repr;

use super::address::Reach;
use super::link::Link;
use super::readiness::Readiness;
use crate::host::descriptors::Descriptors;

/// Bytes of the largest IP packet that is not cut.
pub(super) const MTU: usize = 1500;

/// What the guest may have of the host's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub descriptors: Descriptors,
    pub reach: Reach,
}

/// What a protocol works with, lent to it for one packet, one event or one deadline.
pub(super) struct Environment<'a> {
    pub now: smoltcp::time::Instant,
    pub bounds: Bounds,
    pub link: &'a mut Link,
    pub readiness: &'a mut Readiness,
}

/// An IP packet of the guest's.
pub(super) struct Packet<'a> {
    pub header: Ipv4Repr,
    pub bytes: &'a [u8],
    pub payload: &'a [u8],
    /// The checksum of what it carries is not filled in.
    pub is_partial: bool,
}
