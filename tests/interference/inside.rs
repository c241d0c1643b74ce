//! The part of this test program that runs inside the network of a pod or node of a lab.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netproof::backend::lab::Detour;
use serde::{Deserialize, Serialize};

/// Environment variable with the task, as JSON.
pub(super) const VARIABLE: &str = "NETPROOF_INTERFERENCE";

/// Content of a helper's file when the helper is ready.
pub(super) const READY: &[u8] = b"ready";

/// A task inside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Helper {
    /// Let packets pass by the rules of the node.
    Detour { per_mille: u32, delay_ms: u64 },
    /// Answer probes in another name.
    Answer { port: u16, name: String },
}

#[derive(Deserialize)]
struct Order {
    #[serde(rename = "do")]
    helper: Helper,
    ready: PathBuf,
}

/// This is no test. The harness starts this program again, and selects this function as its only test.
#[test]
#[ignore = "started by the harness, inside of a lab"]
fn helper() {
    let Ok(order) = std::env::var(VARIABLE) else { return };
    // No other process would end this one.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    let Order { helper, ready } = serde_json::from_str(&order).unwrap();
    match helper {
        Helper::Detour { per_mille, delay_ms } => {
            let detour = Detour { per_mille, delay: Duration::from_millis(delay_ms) };
            let mut detour = detour.open().unwrap();
            fs::write(&ready, READY).unwrap();
            loop {
                detour.carry();
            }
        }
        Helper::Answer { port, name } => answer(port, &name, &ready),
    }
}

/// Answers like an agent in another name: echoes the question.
fn answer(port: u16, name: &str, ready: &Path) {
    let (streams, datagrams) = ((Ipv6Addr::UNSPECIFIED, port), (Ipv6Addr::UNSPECIFIED, port));
    let (streams, datagrams) = (TcpListener::bind(streams).unwrap(), UdpSocket::bind(datagrams).unwrap());
    fs::write(ready, READY).unwrap();
    let signed = |question: &str| format!("{} {name}\n", question.trim_end());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
                let question = String::from_utf8_lossy(&buffer[..length]).into_owned();
                // The sender may have ended.
                let _ = datagrams.send_to(signed(&question).as_bytes(), from);
            }
        });
        for stream in streams.incoming() {
            scope.spawn(move || {
                let mut stream = stream.unwrap();
                let mut question = String::new();
                let _ = BufReader::new(&stream).read_line(&mut question);
                let _ = stream.write_all(signed(&question).as_bytes());
            });
        }
    });
}
