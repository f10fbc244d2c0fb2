//! The host's name servers, whom the network asks in the guest's place.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::address;

/// Where the host says whom it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whom the guest's questions go to.
pub struct NameServers {
    /// The file, where the user named none.
    file: Option<PathBuf>,
    /// Those that the user named, or that the file had when it could be read last.
    known: Vec<SocketAddr>,
    /// It was said that the file cannot be read.
    complained: bool,
}

impl NameServers {
    /// Returns the name servers that the user gave, or else the host's.
    pub fn new(given: &[SocketAddr]) -> Self {
        match given.is_empty() {
            true => NameServers::of_file(RESOLV_CONF.into()),
            false => NameServers {
                file: None,
                known: given.to_vec(),
                complained: false,
            },
        }
    }

    fn of_file(file: PathBuf) -> Self {
        let mut servers = NameServers {
            file: Some(file),
            known: address::resolvers(""),
            complained: false,
        };
        servers.now();
        servers
    }

    /// The name servers, read each time, because a host on the move changes them. Where the file
    /// can no longer be read, they are what they were: a sandbox keeps to the file that was there,
    /// which another may have replaced.
    pub fn now(&mut self) -> &[SocketAddr] {
        if let Some(file) = &self.file {
            match std::fs::read_to_string(file) {
                Ok(text) => self.known = address::resolvers(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.known = address::resolvers("");
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(
                        "{}: {error}; the guest's names are asked of {} as before, start the guest \
                         again where that is wrong",
                        file.display(),
                        addresses(&self.known),
                    );
                }
                Err(_) => {}
            }
        }
        &self.known
    }
}

fn addresses(servers: &[SocketAddr]) -> String {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    servers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_change_are_read_again_and_kept_where_they_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        let mut servers = NameServers::of_file(file.clone());
        assert_eq!(addresses(servers.now()), "192.0.2.1:53");
        std::fs::write(&file, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n").unwrap();
        assert_eq!(addresses(servers.now()), "192.0.2.2:53, 192.0.2.3:53");
        // A folder cannot be read as a file, not even by root.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(addresses(servers.now()), "192.0.2.2:53, 192.0.2.3:53");
        assert_eq!(addresses(servers.now()), "192.0.2.2:53, 192.0.2.3:53");
        std::fs::remove_dir(&file).unwrap();
        assert_eq!(addresses(servers.now()), "127.0.0.1:53");
    }

    #[test]
    fn name_servers_that_the_user_gave_stay() {
        let given = ["192.0.2.7:53".parse().unwrap()];
        assert_eq!(NameServers::new(&given).now(), given);
    }
}
