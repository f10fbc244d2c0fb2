//! How much each end of a connection may send (virtio 1.2, 5.10.6.3).

/// Bytes that are kept for the host's end of a connection before the guest must wait. A thousand
/// connections whose ends do not read hold 64 MiB.
pub const ROOM: u32 = 64 << 10;

/// Taken bytes of which the guest is not told before there are so many: it waits only when it has
/// used up all of [`ROOM`], and is told long before.
const WORTH_TELLING: u32 = ROOM / 4;

/// Counters of one connection, modulo 2³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Bytes that were sent to the guest.
    sent: u32,
    /// What the guest said last: its room in all, and what it took.
    guest_room: u32,
    guest_took: u32,
    /// Bytes that came from the guest.
    received: u32,
    /// How many of the received bytes the host took, and how many of those the guest was told of.
    taken: u32,
    told: u32,
}

/// The guest sent more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun;

impl Credit {
    /// The guest says how it is, in any packet.
    pub fn heard(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.guest_room = buf_alloc;
        self.guest_took = fwd_cnt;
    }

    /// Bytes that may be sent to the guest now. A guest that shrinks its room, or that says it took
    /// what it was never sent, gets nothing until it makes sense again.
    pub fn may_send(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.guest_took);
        self.guest_room.saturating_sub(under_way)
    }

    /// So many bytes are sent to the guest, at most [`Credit::may_send`].
    pub fn send(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }

    /// So many bytes came from the guest.
    ///
    /// # Errors
    /// When it had no room for them.
    pub fn receive(&mut self, bytes: u32) -> Result<(), Overrun> {
        let kept = self.received.wrapping_sub(self.taken);
        match bytes > ROOM - kept {
            true => Err(Overrun),
            false => {
                self.received = self.received.wrapping_add(bytes);
                Ok(())
            }
        }
    }

    /// The host took so many of the bytes that came; whether the guest should be told.
    pub fn take(&mut self, bytes: u32) -> bool {
        self.taken = self.taken.wrapping_add(bytes);
        self.taken.wrapping_sub(self.told) >= WORTH_TELLING
    }

    /// What every packet says: the room in all, and what was taken out of it.
    pub fn tell(&mut self) -> (u32, u32) {
        self.told = self.taken;
        (ROOM, self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_guest_gets_no_more_than_it_has_room_for() {
        let mut credit = Credit::default();
        assert_eq!(credit.may_send(), 0);
        credit.heard(1000, 0);
        credit.send(600);
        assert_eq!(credit.may_send(), 400);
        credit.heard(1000, 600);
        assert_eq!(credit.may_send(), 1000);
        // It has less room than before, or took what it was never sent.
        credit.send(1000);
        credit.heard(500, 600);
        assert_eq!(credit.may_send(), 0);
        credit.heard(1000, 5000);
        assert_eq!(credit.may_send(), 0);
    }

    #[test]
    fn the_guest_sends_no_more_than_there_is_room_for() {
        let mut credit = Credit::default();
        assert_eq!(credit.receive(ROOM + 1), Err(Overrun));
        credit.receive(ROOM).unwrap();
        assert_eq!(credit.receive(1), Err(Overrun));
        assert!(!credit.take(1));
        credit.receive(1).unwrap();
        assert!(credit.take(ROOM / 2));
        assert_eq!(credit.tell(), (ROOM, ROOM / 2 + 1));
        assert!(!credit.take(1));
    }

    proptest! {
        #[test]
        fn counters_wrap(start: u32, sizes in proptest::collection::vec(1..=ROOM, 1..50)) {
            let mut credit = Credit {
                sent: start,
                guest_took: start,
                received: start,
                taken: start,
                told: start,
                guest_room: 0,
            };
            let mut at = start;
            for size in sizes {
                credit.heard(ROOM, at);
                prop_assert_eq!(credit.may_send(), ROOM);
                credit.send(size);
                prop_assert_eq!(credit.may_send(), ROOM - size);
                credit.receive(size).unwrap();
                prop_assert_eq!(credit.receive(ROOM - size + 1), Err(Overrun));
                credit.take(size);
                at = at.wrapping_add(size);
                prop_assert_eq!(credit.tell().1, at);
            }
        }
    }
}
