//! An agent for tests that only says what it is told to say.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Connect, Single};

/// Returns the way to a server that answers one request with this text, and never ends.
pub(super) fn answering(text: String) -> Box<dyn Connect> {
    let (own, mut other) = duplex(4_096);
    tokio::spawn(async move {
        let _ = other.read(&mut [0; 4_096]).await;
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        let _ = other.write_all(response.as_bytes()).await;
        std::future::pending::<()>().await;
    });
    Box::new(Single::new(own))
}
