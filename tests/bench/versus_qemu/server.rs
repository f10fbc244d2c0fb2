//! The host's end of `programs/stream.c`, on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Starts the server and gives its port. It lives as long as the process.
pub fn start() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Err(error) = serve(client) {
                    eprintln!("a stream ends: {error}");
                }
            });
        }
    });
    Ok(port)
}

fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let (direction, count) = line.trim_end().split_at_checked(1).ok_or_else(invalid)?;
    let mut left: usize = count.parse().map_err(|_| invalid())?;
    let mut block = vec![0; 1 << 16];
    match direction {
        "g" => {
            while left > 0 {
                let part = left.min(block.len());
                client.write_all(&block[..part])?;
                left -= part;
            }
        }
        _ => {
            while left > 0 {
                match reader.read(&mut block)? {
                    0 => return Err(invalid()),
                    count => left = left.saturating_sub(count),
                }
            }
            client.write_all(b"!")?;
        }
    }
    Ok(())
}
