//! The agent as it goes into the probe image: one static binary, driven through its control API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use netproof::backend::{Agent, Single};
use netproof_probe::wire::{
    Connection, Exchange, ListenFailure, Listener, Nonce, Outcome, Ready, TOKEN_VARIABLE, Target, Transport,
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
    token: &'static str,
}

impl Running {
    fn start() -> Self {
        Self::start_with(TOKEN)
    }

    fn start_with(token: &'static str) -> Self {
        Self::start_command(Command::new(binary()), token)
    }

    /// An agent that may have only so many files open.
    fn start_with_files(files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(binary());
        Self::start_command(shell, TOKEN)
    }

    fn start_command(mut command: Command, token: &'static str) -> Self {
        let mut child = command
            .args(["--name", "x/a"])
            .env(TOKEN_VARIABLE, token)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ready { listening } = serde_json::from_str(&line).unwrap();
        Self { child, api: listening, token }
    }

    async fn client(&self) -> Agent {
        let stream = tokio::net::TcpStream::connect(self.api).await.unwrap();
        Agent::connect("x/a".to_owned(), self.token.to_owned(), Box::new(Single::new(stream))).await.unwrap()
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

/// What an agent of another run would send: signed, but with another key.
fn foreign_probe(nonce: u64) -> String {
    format!("netproof2 {nonce:016x} {:032x}\n", u128::from(nonce) * 0x9e37_79b9_7f4a_7c15)
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
    assert!(matches!(outcome, Outcome::Garbled { .. } | Outcome::Cut { .. }), "{outcome:?}");
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

/// Opens a listener, and gives its address.
async fn listen(agent: &Agent, transport: Transport) -> SocketAddr {
    let port = free_port();
    assert_eq!(agent.listen([Listener { transport, port }]).await.unwrap(), []);
    ([127, 0, 0, 1], port).into()
}

/// The nonces that arrived.
async fn arrived(agent: &Agent) -> Vec<Nonce> {
    agent.arrivals().await.unwrap().iter().map(|arrival| arrival.nonce).collect()
}

/// Seen: anybody who reached a listener could fill the log of arrivals, and with it hide leaks.
#[tokio::test]
async fn foreign_packets_never_arrive_and_cannot_fill_the_log() {
    let running = Running::start();
    let agent = running.client().await;
    let (udp, tcp) = (listen(&agent, Transport::Udp).await, listen(&agent, Transport::Tcp).await);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // More than the log has room for. The kernel may drop some: the agent is one of many on its node.
    for nonce in 0..50_000 {
        let _ = stranger.send_to(foreign_probe(nonce).as_bytes(), udp);
        // As agents sent them before there were keys.
        let _ = stranger.send_to(format!("netproof1 {nonce:016x}\n").as_bytes(), udp);
    }
    assert!(stranger.recv_from(&mut [0; 100]).is_err(), "a stranger gets no answer");
    for nonce in 0..100 {
        let mut stream = TcpStream::connect(tcp).unwrap();
        stream.write_all(foreign_probe(nonce).as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 100]).unwrap_or_default(), 0, "a stranger gets no answer");
    }
    let targets = vec![target(1, Transport::Udp, udp), target(2, Transport::Tcp, tcp)];
    for result in agent.probe(targets, PATIENCE).await.unwrap() {
        assert_eq!(result.outcome, Outcome::Answered { agent: "x/a".to_owned() });
    }
    assert_eq!(arrived(&agent).await.len(), 2, "the log has what the run sent, and nothing else");
}

#[tokio::test]
async fn probes_of_another_run_do_not_arrive() {
    let (running, other) = (Running::start(), Running::start_with("a-token-of-another-run"));
    let (agent, other) = (running.client().await, other.client().await);
    let (udp, tcp) = (listen(&agent, Transport::Udp).await, listen(&agent, Transport::Tcp).await);
    let dns = listen(&agent, Transport::DnsUdp).await;
    let targets = [(1, Transport::Udp, udp), (2, Transport::Tcp, tcp), (3, Transport::DnsUdp, dns)];
    let targets = targets.map(|(nonce, transport, address)| target(nonce, transport, address));
    let results = other.probe(targets.into(), Duration::from_millis(300)).await.unwrap();
    let outcomes: Vec<_> = results.into_iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes[0], Outcome::Silent { connected: false });
    assert_eq!(outcomes[1], Outcome::Garbled { text: String::new() }, "the connection is closed at once");
    // A lookup works for everybody.
    assert_eq!(outcomes[2], Outcome::DnsAnswered { agent: None, code: 3, addresses: Vec::new() });
    assert_eq!(arrived(&agent).await, []);
}

/// A server that keeps what it gets, and answers whatever it is told to.
fn recorder(
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (send, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let message = buffer[..length].to_vec();
            let _ = socket.send_to(&answer(&message), from);
            if send.send(message).is_err() {
                return;
            }
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_replayed_probe_arrives_once() {
    let running = Running::start();
    let agent = running.client().await;
    let udp = listen(&agent, Transport::Udp).await;
    let tcp = listen(&agent, Transport::Tcp).await;
    let (address, seen) = recorder(|_| b"nothing".to_vec());
    agent.probe(vec![target(1, Transport::Udp, address)], PATIENCE).await.unwrap();
    let probe = seen.recv().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // Of a datagram, nobody can make a connection.
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.write_all(&probe).unwrap();
    assert_eq!(stream.read(&mut [0; 100]).unwrap_or_default(), 0);
    assert_eq!(arrived(&agent).await, []);
    for _ in 0..5 {
        stranger.send_to(&probe, udp).unwrap();
    }
    let answers = std::iter::from_fn(|| stranger.recv_from(&mut [0; 400]).ok()).count();
    assert_eq!(answers, 1);
    assert_eq!(arrived(&agent).await, [Nonce(1)]);
}

#[tokio::test]
async fn nobody_answers_in_an_agents_name() {
    let running = Running::start();
    let agent = running.client().await;
    let udp = listen(&agent, Transport::Udp).await;
    let text = |message: &[u8]| String::from_utf8_lossy(message).trim_end().to_owned();
    // The probe with a name behind it, the nonce alone as agents answered before there were keys, and nothing.
    let named = recorder(move |message| format!("{} x/a\n", text(message)).into_bytes());
    let earlier = recorder(move |message| {
        format!("netproof1 {} x/a\n", text(message).split(' ').nth(1).unwrap()).into_bytes()
    });
    // A real answer, to another probe.
    let (address, seen) = recorder(|_| Vec::new());
    agent.probe(vec![target(7, Transport::Udp, address)], PATIENCE).await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&seen.recv().unwrap(), udp).unwrap();
    let mut buffer = [0; 400];
    let length = stranger.recv(&mut buffer).unwrap();
    let real = buffer[..length].to_vec();
    assert!(text(&real).ends_with("x/a"));
    let replayed = recorder(move |_| real.clone());
    for (i, (address, _)) in [&named, &earlier, &replayed].into_iter().enumerate() {
        let results = agent.probe(vec![target(10 + i as u64, Transport::Udp, *address)], PATIENCE).await;
        let outcome = &results.unwrap()[0].outcome;
        assert!(matches!(outcome, Outcome::Garbled { .. }), "{i}: {outcome:?}");
    }
}

/// Seen: connections that say nothing used up all files, and the agent ended.
#[tokio::test]
async fn a_flood_of_connections_shuts_nobody_out() {
    let running = Running::start_with_files(300);
    let agent = running.client().await;
    let tcp = listen(&agent, Transport::Tcp).await;
    let open = |address, count: usize| -> Vec<_> {
        (0..count).filter_map(|_| TcpStream::connect_timeout(&address, PATIENCE).ok()).collect()
    };
    let _listeners = open(tcp, 400);
    let _control = open(running.api, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let results = agent.probe(vec![target(1, Transport::Tcp, tcp)], PATIENCE).await.unwrap();
    assert_eq!(results[0].outcome, Outcome::Answered { agent: "x/a".to_owned() });
    // A client that comes later is let in, too.
    assert_eq!(arrived(&running.client().await).await, [Nonce(1)]);
}

#[tokio::test]
async fn only_an_agent_of_the_run_keeps_a_connection() {
    let running = Running::start();
    let agent = running.client().await;
    let tcp = listen(&agent, Transport::Tcp).await;
    let mut stream = TcpStream::connect(tcp).unwrap();
    let probe = foreign_probe(1).replace("netproof2 ", "netproof2 keep ");
    stream.write_all(probe.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "it is closed at once");
}

#[tokio::test]
async fn an_agent_knows_which_sockets_there_are() {
    let running = Running::start();
    let agent = running.client().await;
    let [ipv4, ipv6] = ["127.0.0.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
    assert_eq!(agent.missing(Transport::Sctp, ipv4), None, "it has not been asked");
    agent.find_capabilities().await.unwrap();
    assert_eq!(agent.missing(Transport::Tcp, ipv4), None);
    assert_eq!(agent.missing(Transport::DnsUdp, ipv4), None);
    // It is what listening finds out, too.
    let sctp = Listener { transport: Transport::Sctp, port: free_port() };
    let failures = agent.listen([sctp]).await.unwrap();
    let is_unsupported = failures.iter().any(|(_, why)| matches!(why, ListenFailure::Unsupported(_)));
    let is_missing = |address| agent.missing(Transport::Sctp, address).is_some();
    assert_eq!(is_missing(ipv4) && is_missing(ipv6), is_unsupported);
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
