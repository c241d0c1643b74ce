//! Connects standard input and output to an agent, for users who may start a process in a pod but may not forward a
//! port.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

/// Connects standard input and output to an agent's API until either side ends.
///
/// # Errors
/// If the agent cannot be reached, or the connection breaks.
pub fn connect(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut requests = stream.try_clone()?;
    thread::spawn(move || {
        // The other direction notices the end of the connection.
        let _ = copy(&mut io::stdin().lock(), &mut requests);
        let _ = requests.shutdown(Shutdown::Both);
    });
    copy(&mut &stream, &mut io::stdout().lock())
}

/// Copies data without delay, because the other side waits for each request or response.
fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else { return Ok(()) };
        to.write_all(read)?;
        to.flush()?;
    }
}
