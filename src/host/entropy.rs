//! Random bytes for the guest: the host's, or under the virtual clock a fixed sequence.

use ppckvm_api::Clock;
use ppckvm_devices::virtio::rng::Entropy;
use rustix::rand::{GetRandomFlags, getrandom};

/// Where the bytes come from.
pub(crate) fn source(clock: Clock) -> Box<dyn Entropy> {
    match clock {
        Clock::Host | Clock::HostStrict => Box::new(host),
        Clock::Virtual => {
            let mut sequence = Sequence(0);
            Box::new(move |bytes: &mut [u8]| sequence.fill(bytes))
        }
    }
}

/// The host's generator. It waits for its first seed only, which a host that runs machines has
/// long had.
fn host(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(count) => bytes = &mut bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            // Linux has had it since 3.17, and it fails for no other reason.
            Err(error) => {
                tracing::error!("the host gives no random bytes: {error}");
                return;
            }
        }
    }
}

/// SplitMix64: as good as it must be for a guest that cannot be surprised anyway.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_clocks_bytes_are_the_same_and_the_hosts_are_not() {
        let take = |clock| {
            let mut bytes = [0; 37];
            source(clock).fill(&mut bytes);
            bytes
        };
        assert_eq!(take(Clock::Virtual), take(Clock::Virtual));
        assert_ne!(take(Clock::Host), take(Clock::Host));
        assert_ne!(take(Clock::Host), [0; 37]);
    }
}
