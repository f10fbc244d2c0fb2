//! Which frames the device takes, and the control queue that says so (virtio 1.2, section 5.1.6.5).

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_CTRL_MAC_TABLE_SET,
    VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_CTRL_RX_ALLUNI,
    VIRTIO_NET_CTRL_RX_NOBCAST, VIRTIO_NET_CTRL_RX_NOMULTI, VIRTIO_NET_CTRL_RX_NOUNI,
    VIRTIO_NET_CTRL_RX_PROMISC,
};

use crate::virtio::ByteOrder;

/// The most bytes of a command that are looked at; addresses after those are too many for a table.
pub const LONGEST: usize = 2 + 2 * (4 + 6 * TABLE);

/// Addresses in each table; with more the table is a filter that lets all of its kind through.
const TABLE: usize = 64;

type Mac = [u8; 6];

/// Which frames are for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// All frames.
    pub promiscuous: bool,
    /// All multicast frames.
    pub all_multicast: bool,
    /// All unicast frames.
    pub all_unicast: bool,
    /// No multicast frames.
    pub no_multicast: bool,
    /// No unicast frames.
    pub no_unicast: bool,
    /// No broadcast frames.
    pub no_broadcast: bool,
    /// Further unicast addresses of the device's.
    pub unicast: Vec<Mac>,
    /// Multicast addresses that it listens to.
    pub multicast: Vec<Mac>,
}

impl Default for Filter {
    /// A filter that takes everything until a driver says otherwise: one without the control queue never does.
    fn default() -> Self {
        Filter {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Vec::new(),
            multicast: Vec::new(),
        }
    }
}

impl Filter {
    /// Whether a frame is for a driver whose device has the address `own`.
    pub fn takes(&self, own: Mac, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk() else {
            return false;
        };
        if self.promiscuous {
            return true;
        }
        if *to == [0xFF; 6] {
            return !self.no_broadcast;
        }
        if to[0] & 1 != 0 {
            return !self.no_multicast && (self.all_multicast || self.multicast.contains(to));
        }
        !self.no_unicast && (self.all_unicast || *to == own || self.unicast.contains(to))
    }
}

/// Carries out a command, without its acknowledgement; false when it is invalid.
pub fn command(filter: &mut Filter, mac: &mut Mac, command: &[u8], order: ByteOrder) -> bool {
    let [class, number, data @ ..] = command else {
        return false;
    };
    match u32::from(*class) {
        VIRTIO_NET_CTRL_RX => mode(filter, u32::from(*number), data),
        VIRTIO_NET_CTRL_MAC => match u32::from(*number) {
            VIRTIO_NET_CTRL_MAC_ADDR_SET => match <Mac>::try_from(data) {
                Ok(new) => {
                    *mac = new;
                    true
                }
                Err(_) => false,
            },
            VIRTIO_NET_CTRL_MAC_TABLE_SET => tables(filter, data, order).is_some(),
            _ => false,
        },
        _ => false,
    }
}

fn mode(filter: &mut Filter, number: u32, data: &[u8]) -> bool {
    let &[on] = data else {
        return false;
    };
    let which = match number {
        VIRTIO_NET_CTRL_RX_PROMISC => &mut filter.promiscuous,
        VIRTIO_NET_CTRL_RX_ALLMULTI => &mut filter.all_multicast,
        VIRTIO_NET_CTRL_RX_ALLUNI => &mut filter.all_unicast,
        VIRTIO_NET_CTRL_RX_NOMULTI => &mut filter.no_multicast,
        VIRTIO_NET_CTRL_RX_NOUNI => &mut filter.no_unicast,
        VIRTIO_NET_CTRL_RX_NOBCAST => &mut filter.no_broadcast,
        _ => return false,
    };
    *which = on != 0;
    true
}

fn tables(filter: &mut Filter, data: &[u8], order: ByteOrder) -> Option<()> {
    let (unicast, rest) = table(data, order)?;
    let (multicast, _) = table(rest, order)?;
    match unicast {
        Some(unicast) => filter.unicast = unicast,
        None => filter.all_unicast = true,
    }
    match multicast {
        Some(multicast) => filter.multicast = multicast,
        None => filter.all_multicast = true,
    }
    Some(())
}

/// Reads a count and as many addresses, none of them if they are too many; and what follows.
fn table(data: &[u8], order: ByteOrder) -> Option<(Option<Vec<Mac>>, &[u8])> {
    let (count, rest) = data.split_first_chunk()?;
    let count = order.read_u32(*count) as usize;
    if count > TABLE {
        // What is behind was perhaps cut off, so this is taken as the end of it.
        return Some((None, &[0; 4]));
    }
    let (addresses, rest) = rest.split_at_checked(count * 6)?;
    let (addresses, _) = addresses.as_chunks();
    Some((Some(addresses.to_vec()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];
    const GROUP: Mac = [1, 0, 0x5E, 0, 0, 1];

    fn quiet() -> Filter {
        Filter {
            promiscuous: false,
            ..Filter::default()
        }
    }

    fn run(filter: &mut Filter, bytes: &[u8]) -> bool {
        command(filter, &mut OWN.clone(), bytes, ByteOrder::Little)
    }

    #[test]
    fn a_driver_that_says_nothing_gets_everything() {
        let filter = Filter::default();
        assert!([OWN, OTHER, GROUP].iter().all(|to| filter.takes(OWN, to)));
        assert!(!filter.takes(OWN, &[2; 5]));
    }

    #[test]
    fn modes_let_their_kind_through() {
        let mut filter = Filter::default();
        let takes =
            |filter: &Filter| [OWN, OTHER, GROUP, [0xFF; 6]].map(|to| filter.takes(OWN, &to));
        for (bytes, expected) in [
            ([0, 0, 0], [true, false, false, true]),
            ([0, 1, 1], [true, false, true, true]),
            ([0, 3, 1], [true, false, false, true]),
            ([0, 2, 1], [true, true, false, true]),
            ([0, 4, 1], [false, false, false, true]),
            ([0, 5, 1], [false, false, false, false]),
            ([0, 0, 1], [true, true, true, true]),
        ] {
            assert!(run(&mut filter, &bytes), "{bytes:?}");
            assert_eq!(takes(&filter), expected, "{bytes:?}");
        }
    }

    #[test]
    fn tables_name_further_addresses_in_the_drivers_order() {
        let mut filter = quiet();
        let mut bytes = vec![1, 0, 0, 0, 0, 1];
        bytes.extend(OTHER);
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(GROUP);
        assert!(command(
            &mut filter,
            &mut OWN.clone(),
            &bytes,
            ByteOrder::Big
        ));
        assert!([OWN, OTHER, GROUP].iter().all(|to| filter.takes(OWN, to)));
        assert!(!filter.takes(OWN, &[2, 9, 9, 9, 9, 9]));
        assert_eq!((filter.unicast.len(), filter.multicast.len()), (1, 1));
    }

    #[test]
    fn a_table_that_is_too_long_lets_all_through() {
        let mut filter = quiet();
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 65, 0, 0, 0];
        bytes.extend([1; 6 * 64]);
        assert!(run(&mut filter, &bytes));
        assert!(filter.all_multicast && !filter.all_unicast);
    }

    #[test]
    fn the_address_can_be_changed() {
        let mut mac = OWN;
        let mut bytes = vec![1, 1];
        bytes.extend(OTHER);
        assert!(command(&mut quiet(), &mut mac, &bytes, ByteOrder::Little));
        assert_eq!(mac, OTHER);
    }

    #[test]
    fn what_is_no_command_changes_nothing() {
        let mut filter = quiet();
        for bytes in [
            &[][..],
            &[0],
            &[0, 0],
            &[0, 6, 1],
            &[0, 0, 1, 1],
            &[1, 0],
            &[1, 0, 1, 0, 0, 0, 9],
            &[1, 0, 0, 0, 0, 0],
            &[1, 1, 2, 2],
            &[1, 2, 0],
            &[4, 0, 1],
        ] {
            assert!(!run(&mut filter, bytes), "{bytes:?}");
        }
        assert_eq!(filter, quiet());
    }
}
