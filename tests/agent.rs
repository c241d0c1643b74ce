//! The agent as it goes into the probe image: one static binary, driven through its control API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use netproof::backend::{Agent, Single};
use netproof_probe::wire::{
    Connection, Exchange, Listener, Nonce, Outcome, Ready, TOKEN_VARIABLE, Target, Transport,
};

const TOKEN: &str = "a-token-for-tests";

/// The static binary, built once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/probe-image/build.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{script} failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// An agent that ends with this value.
struct Running {
    child: Child,
    api: SocketAddr,
}

impl Running {
    fn start() -> Self {
        let mut child = Command::new(binary())
            .args(["--name", "x/a"])
            .env(TOKEN_VARIABLE, TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ready { listening } = serde_json::from_str(&line).unwrap();
        Self { child, api: listening }
    }

    async fn client(&self) -> Agent {
        let stream = tokio::net::TcpStream::connect(self.api).await.unwrap();
        Agent::connect("x/a".to_owned(), TOKEN.to_owned(), Box::new(Single::new(stream))).await.unwrap()
    }

    /// The first line of the response to a request without the client's help.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.lines().next().unwrap_or_default().to_owned()
    }

    /// The most memory that it ever had, in KiB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn target(nonce: u64, transport: Transport, address: SocketAddr) -> Target {
    let name = matches!(transport, Transport::DnsUdp | Transport::DnsTcp)
        .then(|| "web.x.svc.cluster.local".to_owned());
    Target { nonce: Nonce(nonce), transport, address, name }
}

/// A port that nobody uses at the moment.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn the_binary_is_static_and_small() {
    let content = std::fs::read(binary()).unwrap();
    assert!(content.len() <= 2_500_000, "{} bytes", content.len());
    let loader = b"/lib64/ld-linux";
    assert!(!content.windows(loader.len()).any(|window| window == loader), "it needs a dynamic loader");
}

#[tokio::test]
async fn probing_5000_targets_at_once_takes_at_most_15_mib() {
    // Sockets that never answer, so that all probes are in flight until their time is over.
    let silent_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_tcp: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let running = Running::start();
    let agent = running.client().await;
    let targets = (0..5_000).map(|i| match silent_tcp.get(i % 10) {
        Some(tcp) => target(i as u64, Transport::Tcp, tcp.local_addr().unwrap()),
        None => target(i as u64, Transport::Udp, silent_udp.local_addr().unwrap()),
    });
    let results = agent.probe(targets.collect(), Duration::from_secs(3)).await.unwrap();
    let silent = results.iter().filter(|result| matches!(result.outcome, Outcome::Silent { .. })).count();
    assert_eq!(silent, 5_000, "{:?}", results.iter().find(|r| !matches!(r.outcome, Outcome::Silent { .. })));
    let memory = running.peak_memory();
    assert!(memory <= 15 * 1024, "{memory} KiB");
}

#[tokio::test]
async fn answers_name_the_agent_and_echo_the_nonce() {
    let running = Running::start();
    let agent = running.client().await;
    let transports = [Transport::Tcp, Transport::Udp, Transport::DnsTcp, Transport::DnsUdp];
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let listeners =
        transports.iter().zip(ports).map(|(transport, port)| Listener { transport: *transport, port });
    assert_eq!(agent.listen(listeners.clone()).await.unwrap(), []);
    let addresses = vec!["10.96.0.10".parse().unwrap()];
    agent.set_records([("web.x.svc.cluster.local".to_owned(), addresses.clone())].into()).await.unwrap();

    let targets: Vec<_> = transports
        .iter()
        .zip(ports)
        .enumerate()
        .map(|(i, (transport, port))| target(100 + i as u64, *transport, ([127, 0, 0, 1], port).into()))
        .collect();
    let results = agent.probe(targets, PATIENCE).await.unwrap();
    let name = "x/a".to_owned();
    for (i, result) in results.iter().enumerate() {
        let expected = match i {
            0 | 1 => Outcome::Answered { agent: name.clone() },
            _ => Outcome::DnsAnswered { agent: Some(name.clone()), code: 0, addresses: addresses.clone() },
        };
        assert_eq!(result.outcome, expected, "{:?}", transports[i]);
    }

    let mut arrived: Vec<_> = agent.arrivals().await.unwrap();
    arrived.sort_by_key(|arrival| arrival.nonce);
    let seen: Vec<_> = arrived.iter().map(|arrival| (arrival.nonce, arrival.listener)).collect();
    let sent: Vec<_> = (100..104).map(Nonce).zip(listeners).collect();
    assert_eq!(seen, sent, "the log has every nonce, where it arrived");
    assert_eq!(agent.arrivals().await.unwrap(), [], "and tells it once");
}

/// A connection of one agent to another, and the port at which that listens.
async fn held(agent: &Agent, server: &Agent, nonce: u64) {
    let port = free_port();
    assert_eq!(server.listen([Listener { transport: Transport::Tcp, port }]).await.unwrap(), []);
    let connection = Connection { nonce: Nonce(nonce), address: ([127, 0, 0, 1], port).into() };
    let opened = agent.hold(vec![connection], PATIENCE).await.unwrap();
    assert_eq!(opened[0].outcome, Outcome::Answered { agent: "x/a".to_owned() });
}

async fn use_again(agent: &Agent, connection: u64) -> Outcome {
    let exchange = Exchange { connection: Nonce(connection), nonce: Nonce(connection + 1) };
    agent.use_again(vec![exchange], PATIENCE).await.unwrap().remove(0).outcome
}

#[tokio::test]
async fn a_connection_stays_open_until_it_has_been_used_again() {
    let (running, server) = (Running::start(), Running::start());
    let (agent, server) = (running.client().await, server.client().await);
    held(&agent, &server, 7).await;
    // Longer than a connection may be silent that nobody wants to keep.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(use_again(&agent, 7).await, Outcome::Answered { agent: "x/a".to_owned() });
    let arrived: Vec<_> = server.arrivals().await.unwrap().iter().map(|arrival| arrival.nonce).collect();
    assert_eq!(arrived, [Nonce(7), Nonce(8)], "each use has a nonce of its own");
    assert!(matches!(use_again(&agent, 7).await, Outcome::Failed { .. }), "it is closed");
}

#[tokio::test]
async fn a_connection_whose_other_end_is_gone_gives_no_answer() {
    let (running, other) = (Running::start(), Running::start());
    let agent = running.client().await;
    held(&agent, &other.client().await, 7).await;
    drop(other);
    let outcome = use_again(&agent, 7).await;
    assert!(matches!(outcome, Outcome::Garbled { .. } | Outcome::Refused), "{outcome:?}");
}

#[tokio::test]
async fn a_wrong_address_is_noticed() {
    let running = Running::start();
    let agent = running.client().await;
    // Sends back whatever it gets, as no agent does.
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let echo_address = echo.local_addr().unwrap();
    let echoing = std::thread::spawn(move || {
        let mut buffer = [0; 200];
        let (length, from) = echo.recv_from(&mut buffer).unwrap();
        echo.send_to(&buffer[..length], from).unwrap();
    });
    let closed = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let targets = vec![
        target(1, Transport::Udp, echo_address),
        target(2, Transport::Tcp, closed),
        target(3, Transport::Udp, closed),
        target(4, Transport::DnsUdp, closed),
    ];
    let results = agent.probe(targets, PATIENCE).await.unwrap();
    echoing.join().unwrap();
    assert!(matches!(results[0].outcome, Outcome::Garbled { .. }), "{:?}", results[0]);
    assert!(results[1..].iter().all(|result| result.outcome == Outcome::Refused), "{results:?}");
}

#[tokio::test]
async fn listeners_open_once_and_say_why_they_cannot() {
    let running = Running::start();
    let agent = running.client().await;
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let busy = Listener { transport: Transport::Tcp, port: taken.local_addr().unwrap().port() };
    let free = Listener { transport: Transport::Tcp, port: free_port() };
    for _ in 0..2 {
        let failures = agent.listen([busy, free]).await.unwrap();
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].0, busy);
    }
}

#[test]
fn the_api_is_guarded() {
    let running = Running::start();
    let with = |token: &str, path: &str| {
        running.raw(&format!("POST {path} HTTP/1.1\nHost: a\n{token}Connection: close\n\n"))
    };
    let right = format!("Authorization: Bearer {TOKEN}\n");
    assert_eq!(with(&right, "/v1/info"), "HTTP/1.1 200 OK");
    assert_eq!(with(&right, "/v1/nothing"), "HTTP/1.1 404 Not Found");
    for wrong in ["", "Authorization: Bearer another-token-x\n", "Authorization: Bearer \n"] {
        assert_eq!(with(wrong, "/v1/info"), "HTTP/1.1 401 Unauthorized");
    }
    let nonsense = running.raw(&format!(
        "POST /v1/probe HTTP/1.1\nHost: a\n{right}Connection: close\nContent-Length: 8\n\nnonsense"
    ));
    assert_eq!(nonsense, "HTTP/1.1 400 Bad Request");
}

#[test]
fn it_refuses_to_be_open_to_others() {
    let refused = |token: &str, listen: &str| {
        let output =
            Command::new(binary()).args(["--listen", listen]).env(TOKEN_VARIABLE, token).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(TOKEN, "0.0.0.0:0").contains("loopback only"));
    assert!(refused("", "127.0.0.1:0").contains("the token is empty"));
}

#[test]
fn it_stops_when_it_is_asked_to() {
    for ask in [true, false] {
        let mut running = Running::start();
        if ask {
            let request = format!(
                "POST /v1/stop HTTP/1.1\nHost: a\nAuthorization: Bearer {TOKEN}\nContent-Length: 0\n\n"
            );
            assert_eq!(running.raw(&request), "HTTP/1.1 200 OK");
        } else {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(running.child.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}
