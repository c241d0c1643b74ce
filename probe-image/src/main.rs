//! The agent as a program: the only file in the probe image.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use netproof_probe::agent::{self, Entry, Options};
use netproof_probe::wire::TOKEN_VARIABLE;

const USAGE: &str = "\
usage: netproof-probe [--name NAME] [--listen ADDRESS:PORT] [--open PORT] [--deadline SECONDS]
                      [--enter UID --address ADDRESS...]
       netproof-probe --connect ADDRESS:PORT

The probe agent of netproof. Serves its control API on loopback; the token that every request has
to carry is read from NETPROOF_TOKEN.

  --name NAME              the name with which it signs its answers (default: the host's)
  --listen ADDRESS:PORT    where to serve, on loopback (default: 127.0.0.1:0, any free port)
  --open PORT              a TCP port that is open at every address from the start, for a startup probe
                           of the kubelet (default: none)
  --deadline SECONDS       ends after this time (default: never)
  --enter UID              sends and listens in the network of the running pod with this UID, on this node; ends
                           with code 69 when the pod has ended. The control API stays where it was. Needs user 0,
                           the node's process ids (hostPID), and the capabilities SYS_ADMIN and SYS_PTRACE
  --address ADDRESS        an address that this pod must have; may be repeated
  --connect ADDRESS:PORT   connects standard input and output to an agent, and does nothing else
  --version                print the version
";

/// Exit code if the pod whose network the agent uses has ended (`EX_UNAVAILABLE` of `sysexits.h`).
const POD_GONE: u8 = 69;

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Connect(address)) => {
            return match agent::connect(address) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            };
        }
        Ok(Command::Print(text)) => {
            print(&text);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            complain(&format!("{message}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match agent::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_pod_gone() => {
            complain(&error.to_string());
            ExitCode::from(POD_GONE)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(2)
}

enum Command {
    Run(Options),
    Connect(SocketAddr),
    Print(String),
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut name = None;
    let mut listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut open = None;
    let mut deadline = None;
    let mut uid = None;
    let mut addresses = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--name" => name = Some(value()?),
            "--listen" => listen = address(&value()?)?,
            "--open" => open = Some(port(&value()?)?),
            "--deadline" => deadline = Some(seconds(&value()?)?),
            "--enter" => uid = Some(pod_uid(value()?)?),
            "--address" => addresses.push(ip(&value()?)?),
            "--connect" => return Ok(Command::Connect(address(&value()?)?)),
            "--version" => {
                return Ok(Command::Print(format!("netproof-probe {}\n", env!("CARGO_PKG_VERSION"))));
            }
            "--help" | "-h" => return Ok(Command::Print(USAGE.to_owned())),
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    let name = name.unwrap_or_else(agent::host_name);
    let token = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
    let entry = match uid {
        Some(_) if addresses.is_empty() => {
            return Err("--enter needs the addresses of the pod: --address".to_owned());
        }
        Some(uid) => Some(Entry { uid, addresses }),
        None => None,
    };
    Ok(Command::Run(Options { name, listen, is_open: false, open, token, entry, deadline }))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and a port"))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{text}` is not a port"))
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("`{text}` is not a number of seconds"))
}

fn pod_uid(text: String) -> Result<String, String> {
    let is_uid = text.len() >= 16 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_uid { Ok(text) } else { Err(format!("`{text}` is not the UID of a pod")) }
}

#[expect(clippy::print_stdout, reason = "this is the program's own output")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "this is where errors go")]
fn complain(text: &str) {
    eprintln!("netproof-probe: {text}");
}
