//! The agent of the probe image: one static binary. The tests use its control API.

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
use nix::sys::signal::Signal;

use crate::support::{program, signal};

const TOKEN: &str = "a-token-for-tests";

/// Returns the static binary, which is built once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("probe-image"))
}

/// Builds a program of a pod with the script in this folder. Returns its path.
pub(crate) fn built(folder: &str) -> PathBuf {
    let script = format!("{}/{folder}/build.sh", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

/// An agent that ends when the value is dropped.
struct Running {
    child: Child,
    api: SocketAddr,
    token: &'static str,
}

impl Running {
    fn start() -> Self {
        Self::start_command(Command::new(binary()), TOKEN)
    }

    /// Starts an agent that may have only so many files open.
    fn start_with_files(files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(binary());
        Self::start_command(shell, TOKEN)
    }

    fn start_command(mut command: Command, token: &'static str) -> Self {
        command.args(["--name", "x/a"]).env(TOKEN_VARIABLE, token).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ready { listening } = serde_json::from_str(&line).unwrap();
        Self { child, api: listening, token }
    }

    async fn client(&self) -> Agent {
        let stream = tokio::net::TcpStream::connect(self.api).await.unwrap();
        Agent::connect("x/a".to_owned(), self.token.to_owned(), Box::new(Single::new(stream))).await.unwrap()
    }

    /// Sends a raw request. Returns the first line of the response.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.lines().next().unwrap_or_default().to_owned()
    }

    /// Returns the peak memory in KiB.
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

/// Returns the probe of another run's agent, which is signed with another key.
fn foreign_probe(nonce: u64) -> String {
    format!("netproof2 {nonce:016x} {:032x}\n", u128::from(nonce) * 0x9e37_79b9_7f4a_7c15)
}

/// Returns a port that is free at the moment.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

const DEADLINE: Duration = Duration::from_secs(2);

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Opens a listener. Returns its address.
async fn listen(agent: &Agent, transport: Transport) -> SocketAddr {
    let port = free_port();
    assert_eq!(agent.listen([Listener { transport, port }]).await.unwrap(), []);
    local(port)
}

/// Returns the nonces that arrived.
async fn arrived(agent: &Agent) -> Vec<Nonce> {
    agent.arrivals().await.unwrap().iter().map(|arrival| arrival.nonce).collect()
}

/// Returns the outcomes of probes to these targets.
async fn probe(agent: &Agent, targets: Vec<Target>) -> Vec<Outcome> {
    agent.probe(targets, DEADLINE).await.unwrap().into_iter().map(|result| result.outcome).collect()
}

fn answered() -> Outcome {
    Outcome::Answered { agent: "x/a".to_owned() }
}

/// `netproof agent` is the same agent, for hosts outside of a cluster.
#[test]
fn a_host_outside_runs_the_agent_until_it_is_told_to_end() {
    let token = "0123456789abcdef0123456789abcdef";
    let mut command = Command::new(program());
    command.args(["agent", "--listen", "127.0.0.1:0"]);
    let agent = Running::start_command(command, token);
    let mut info =
        format!("POST /v1/info HTTP/1.1\nHost: a\nAuthorization: Bearer {token}\nConnection: close\n");
    info.push_str("Content-Length: 0\n\n");
    assert_eq!(agent.raw(&info), "HTTP/1.1 200 OK");
    assert_eq!(agent.raw(&info.replace(token, "other")), "HTTP/1.1 401 Unauthorized");
    signal(agent.child.id(), Signal::SIGTERM);
    let mut agent = agent;
    assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    for (token, expected) in
        [("", "NETPROOF_TOKEN is not set"), ("short", "has 5 characters, not at least 32")]
    {
        let mut command = Command::new(program());
        let output = command.arg("agent").env(TOKEN_VARIABLE, token).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected) && message.contains("openssl rand -hex 32"), "{message}");
    }
}

#[test]
fn the_binary_is_static_and_small() {
    let content = std::fs::read(binary()).unwrap();
    assert!(content.len() <= 2_500_000, "{} bytes", content.len());
    let loader = b"/lib64/ld-linux";
    assert!(!content.windows(loader.len()).any(|window| window == loader), "it needs a dynamic loader");
}

#[tokio::test]
async fn probing_5000_targets_at_once_takes_at_most_15_mib() {
    // These sockets never answer, so all probes are in flight until the deadline.
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
        .map(|(i, (transport, port))| target(100 + i as u64, *transport, local(port)))
        .collect();
    let name = Some("x/a".to_owned());
    let resolved = Outcome::DnsAnswered { agent: name, code: 0, addresses };
    let expected = [answered(), answered(), resolved.clone(), resolved];
    assert_eq!(probe(&agent, targets).await, expected);

    let mut arrived: Vec<_> = agent.arrivals().await.unwrap();
    arrived.sort_by_key(|arrival| arrival.nonce);
    let seen: Vec<_> = arrived.iter().map(|arrival| (arrival.nonce, arrival.listener)).collect();
    let sent: Vec<_> = (100..104).map(Nonce).zip(listeners).collect();
    assert_eq!(seen, sent, "the log has every nonce, and the listener at which it arrived");
    assert_eq!(agent.arrivals().await.unwrap(), [], "the log returns each nonce once");
}

/// Opens a connection from one agent to another, and keeps it.
async fn held(agent: &Agent, server: &Agent, nonce: u64) {
    let address = listen(server, Transport::Tcp).await;
    let opened = agent.hold(vec![Connection { nonce: Nonce(nonce), address }], DEADLINE).await.unwrap();
    assert_eq!(opened[0].outcome, answered());
}

async fn use_again(agent: &Agent, connection: u64) -> Outcome {
    let exchange = Exchange { connection: Nonce(connection), nonce: Nonce(connection + 1) };
    agent.use_again(vec![exchange], DEADLINE).await.unwrap().remove(0).outcome
}

#[tokio::test]
async fn a_connection_stays_open_until_it_has_been_used_again() {
    let (running, server) = (Running::start(), Running::start());
    let (agent, server) = (running.client().await, server.client().await);
    held(&agent, &server, 7).await;
    // The agent closes other connections after 10 s without traffic.
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    assert_eq!(use_again(&agent, 7).await, answered());
    assert_eq!(arrived(&server).await, [Nonce(7), Nonce(8)], "each use has another nonce");
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
    // The socket sends back what it gets. No agent does that.
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let echo_address = echo.local_addr().unwrap();
    let echoing = std::thread::spawn(move || {
        let mut buffer = [0; 200];
        let (length, from) = echo.recv_from(&mut buffer).unwrap();
        echo.send_to(&buffer[..length], from).unwrap();
    });
    let closed = local(free_port());
    let targets = vec![
        target(1, Transport::Udp, echo_address),
        target(2, Transport::Tcp, closed),
        target(3, Transport::Udp, closed),
        target(4, Transport::DnsUdp, closed),
    ];
    let outcomes = probe(&agent, targets).await;
    echoing.join().unwrap();
    assert!(matches!(outcomes[0], Outcome::Garbled { .. }), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::Refused), "{outcomes:?}");
}

/// Regression: every sender that reached a listener could fill the log of arrivals, and hide leaks.
#[tokio::test]
async fn foreign_packets_never_arrive_and_cannot_fill_the_log() {
    let running = Running::start();
    let agent = running.client().await;
    let (udp, tcp) = (listen(&agent, Transport::Udp).await, listen(&agent, Transport::Tcp).await);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // The log has room for fewer. The kernel may drop some.
    for nonce in 0..50_000 {
        let _ = stranger.send_to(foreign_probe(nonce).as_bytes(), udp);
        // The format of agents before there were keys.
        let _ = stranger.send_to(format!("netproof1 {nonce:016x}\n").as_bytes(), udp);
    }
    assert!(stranger.recv_from(&mut [0; 100]).is_err(), "a stranger gets no answer");
    for nonce in 0..100 {
        let mut stream = TcpStream::connect(tcp).unwrap();
        stream.write_all(foreign_probe(nonce).as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 100]).unwrap_or_default(), 0, "a stranger gets no answer");
    }
    let targets = vec![target(1, Transport::Udp, udp), target(2, Transport::Tcp, tcp)];
    assert_eq!(probe(&agent, targets).await, [answered(), answered()]);
    assert_eq!(arrived(&agent).await.len(), 2, "the log has only what the run sent");
}

#[tokio::test]
async fn probes_of_another_run_do_not_arrive() {
    let (running, other) =
        (Running::start(), Running::start_command(Command::new(binary()), "a-token-of-another-run"));
    let (agent, other) = (running.client().await, other.client().await);
    let (udp, tcp) = (listen(&agent, Transport::Udp).await, listen(&agent, Transport::Tcp).await);
    let dns = listen(&agent, Transport::DnsUdp).await;
    let targets = [(1, Transport::Udp, udp), (2, Transport::Tcp, tcp), (3, Transport::DnsUdp, dns)];
    let targets = targets.map(|(nonce, transport, address)| target(nonce, transport, address));
    let results = other.probe(targets.into(), Duration::from_millis(300)).await.unwrap();
    let outcomes: Vec<_> = results.into_iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes[0], Outcome::Silent { connected: false });
    assert_eq!(outcomes[1], Outcome::Garbled { text: String::new() }, "the connection is closed at once");
    // A lookup works for every sender.
    assert_eq!(outcomes[2], Outcome::DnsAnswered { agent: None, code: 3, addresses: Vec::new() });
    assert_eq!(arrived(&agent).await, []);
}

/// Starts a server that records what it gets. Returns its address and the records.
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
    agent.probe(vec![target(1, Transport::Udp, address)], DEADLINE).await.unwrap();
    let probe = seen.recv().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // A signature for UDP is not valid for TCP.
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
async fn only_the_agent_can_answer_in_its_name() {
    let running = Running::start();
    let agent = running.client().await;
    let udp = listen(&agent, Transport::Udp).await;
    let text = |message: &[u8]| String::from_utf8_lossy(message).trim_end().to_owned();
    // One server answers with the probe and a name. One has the format of agents before there were keys.
    let named = recorder(move |message| format!("{} x/a\n", text(message)).into_bytes());
    let earlier = recorder(move |message| {
        format!("netproof1 {} x/a\n", text(message).split(' ').nth(1).unwrap()).into_bytes()
    });
    // A third one replays a real answer to another probe.
    let (address, seen) = recorder(|_| Vec::new());
    agent.probe(vec![target(7, Transport::Udp, address)], DEADLINE).await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&seen.recv().unwrap(), udp).unwrap();
    let mut buffer = [0; 400];
    let length = stranger.recv(&mut buffer).unwrap();
    let real = buffer[..length].to_vec();
    assert!(text(&real).ends_with("x/a"));
    let replayed = recorder(move |_| real.clone());
    for (i, (address, _)) in [&named, &earlier, &replayed].into_iter().enumerate() {
        let outcomes = probe(&agent, vec![target(10 + i as u64, Transport::Udp, *address)]).await;
        assert!(matches!(outcomes[..], [Outcome::Garbled { .. }]), "{i}: {outcomes:?}");
    }
}

/// Regression: silent connections used up all files, and the agent ended.
#[tokio::test]
async fn a_flood_of_connections_does_not_block_others() {
    let running = Running::start_with_files(300);
    let agent = running.client().await;
    let tcp = listen(&agent, Transport::Tcp).await;
    let open = |address, count: usize| -> Vec<_> {
        (0..count).filter_map(|_| TcpStream::connect_timeout(&address, DEADLINE).ok()).collect()
    };
    let _listeners = open(tcp, 400);
    let _control = open(running.api, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(probe(&agent, vec![target(1, Transport::Tcp, tcp)]).await, [answered()]);
    // A client that connects later is admitted, too.
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
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "it is closed at once");
}

#[tokio::test]
async fn an_agent_knows_which_sockets_there_are() {
    let running = Running::start();
    let agent = running.client().await;
    let [ipv4, ipv6] = ["127.0.0.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
    assert_eq!(agent.missing(Transport::Sctp, ipv4), None, "its capabilities are unknown");
    agent.find_capabilities().await.unwrap();
    assert_eq!(agent.missing(Transport::Tcp, ipv4), None);
    assert_eq!(agent.missing(Transport::DnsUdp, ipv4), None);
    // Listening has the same result.
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
fn it_listens_only_on_loopback_and_with_a_token() {
    let refused = |token: &str, listen: &str| {
        let output =
            Command::new(binary()).args(["--listen", listen]).env(TOKEN_VARIABLE, token).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(TOKEN, "0.0.0.0:0").contains("loopback only"));
    assert!(refused("", "127.0.0.1:0").contains("the token is empty"));
}

/// The kubelet has to reach it before anybody can ask it to listen.
#[test]
fn a_port_can_be_open_from_the_start() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(binary());
    command.args(["--open", &free.to_string()]);
    let running = Running::start_command(command, TOKEN);
    TcpStream::connect(("127.0.0.1", free)).unwrap();
    let mut second = Command::new(binary());
    second.args(["--open", &free.to_string()]).env(TOKEN_VARIABLE, TOKEN);
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "the port is in use");
    assert!(String::from_utf8(output.stderr).unwrap().contains(&format!("cannot listen on port {free}")));
    drop(running);
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
            signal(running.child.id(), Signal::SIGTERM);
        }
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}
