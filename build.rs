//! Builds the agent of the probe pods and packs it. netproof carries the packed agent, so that nodes need no
//! image of it.
//!
//! The environment variable `NETPROOF_AGENTS` chooses the agents:
//!
//! - `build`: builds the agent for the target of netproof. This is the default of release builds for Linux.
//! - `none`: carries no agent. This is the default of other builds, because the agent takes almost a minute, and because
//!   only Linux can build it. Such a netproof uses the files beside its program.
//! - any other value is a folder. It has `netproof-probe-ARCHITECTURE` for one or more architectures (`amd64`, `arm64`).
//!   Each of them is packed, or is packed here with the loader `netproof-loader-ARCHITECTURE`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use netproof_loader::{Damage, Parts, pack};

/// The architectures of the nodes: as Rust names them, as Kubernetes does, and as ELF files number them.
const ARCHITECTURES: [(&str, &str, u16); 2] = [("x86_64", "amd64", 62), ("aarch64", "arm64", 183)];

/// A program that is built for the nodes.
struct Program {
    name: &'static str,
    /// The variable with the path of its sources, which comes from the build script of its crate.
    sources: &'static str,
    features: &'static [&'static str],
    flags: &'static [&'static str],
}

const AGENT: Program = Program {
    name: "netproof-probe",
    sources: "DEP_NETPROOF_PROBE_SOURCES",
    features: &[],
    flags: &["-Ctarget-feature=+crt-static"],
};

const LOADER: Program = Program {
    name: "netproof-loader",
    sources: "DEP_NETPROOF_LOADER_SOURCES",
    features: &["--no-default-features", "--features", "program"],
    flags: &["-Crelocation-model=static", "-Cforce-unwind-tables=no"],
};

fn main() -> ExitCode {
    let Err(message) = write_carried() else { return ExitCode::SUCCESS };
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}

/// Writes the packed agents, and the code that contains them.
fn write_carried() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=NETPROOF_AGENTS");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let is_linux = variable("CARGO_CFG_TARGET_OS")? == "linux";
    let default = if is_linux && variable("PROFILE")? == "release" { "build" } else { "none" };
    let chosen = env::var("NETPROOF_AGENTS").ok().filter(|chosen| !chosen.is_empty());
    let agents = match chosen.as_deref().unwrap_or(default) {
        "none" => {
            if !is_linux && chosen.is_none() {
                println!("cargo::warning=netproof carries no agent: only Linux can build it, see build.rs");
            }
            Vec::new()
        }
        "build" if is_linux => vec![build(&out)?],
        "build" => {
            let target = variable("TARGET")?;
            return Err(format!(
                "NETPROOF_AGENTS=build: the agent runs on Linux, and this netproof is for {target}: name a folder with agents \
                 that were built on Linux, see build.rs"
            ));
        }
        folder => take(Path::new(folder))?,
    };
    let mut code = String::from("[\n");
    for (architecture, packed) in agents {
        let file = out.join(format!("netproof-probe-{architecture}"));
        fs::write(&file, packed).map_err(|error| format!("could not write {}: {error}", file.display()))?;
        // Writing to a string cannot fail.
        let _ = writeln!(code, "    ({architecture:?}, include_bytes!({file:?})),");
    }
    let file = out.join("carried.rs");
    fs::write(&file, code + "]\n").map_err(|error| format!("could not write {}: {error}", file.display()))
}

/// Builds the agent for the target of netproof. Returns its architecture and the packed agent.
fn build(out: &Path) -> Result<(&'static str, Vec<u8>), String> {
    let target = variable("CARGO_CFG_TARGET_ARCH")?;
    let known = ARCHITECTURES.iter().find(|(rust, ..)| *rust == target);
    let (_, architecture, _) = known.ok_or_else(|| {
        format!("netproof has no agent for {target}: build it with NETPROOF_AGENTS=none, see build.rs")
    })?;
    let agent = compile(out, &AGENT)?;
    Ok((*architecture, pack(&compile(out, &LOADER)?, &agent)))
}

/// Builds a program. Returns its content.
fn compile(out: &Path, program: &Program) -> Result<Vec<u8>, String> {
    let name = program.name;
    let sources = PathBuf::from(variable(program.sources)?);
    for part in ["src", "build.rs", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", sources.join(part).display());
    }
    let target = variable("TARGET")?;
    let target_dir = out.join("agent");
    let mut cargo = Command::new(variable("CARGO")?);
    // With a target named, the flags do not reach build scripts and macros. The folder is not that of the
    // outer build, which is locked.
    cargo.args(["build", "--quiet", "--locked", "--bin", name, "--profile", "agent", "--target", &target]);
    cargo.arg("--manifest-path").arg(sources.join("Cargo.toml")).arg("--target-dir").arg(&target_dir);
    cargo.args(program.features);
    for setting in profile()? {
        cargo.arg("--config").arg(setting);
    }
    for (key, _) in env::vars_os().filter(|(key, _)| key.to_str().is_some_and(is_for_outer_build)) {
        cargo.env_remove(key);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", program.flags.join("\u{1f}"));
    let output = cargo.output().map_err(|error| format!("could not start cargo for {name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{said}\nnetproof carries its agent, a static program, and {name} could not be built. If a static library is \
             missing, install the static C library (libc6-dev, glibc-static). To build netproof without an agent, set \
             NETPROOF_AGENTS=none: clusters then need the image that `netproof image` makes."
        ));
    }
    read(&target_dir.join(target).join("agent").join(name))
}

/// Returns the profile of the agent as settings for cargo. It comes from the manifest of netproof, because in
/// a registry the crates of the agent and the loader have no workspace.
fn profile() -> Result<Vec<String>, String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = String::from_utf8(read(&manifest)?).map_err(|error| error.to_string())?;
    let (_, profile) =
        text.split_once("\n[profile.agent]\n").ok_or("Cargo.toml has no profile of the agent")?;
    let lines = profile.lines().take_while(|line| !line.starts_with('[')).filter(|line| line.contains('='));
    Ok(lines.map(|line| format!("profile.agent.{line}")).collect())
}

/// Returns whether a variable is about the outer build. Its flags, target and wrappers are not those of the
/// agent.
fn is_for_outer_build(variable: &str) -> bool {
    let names = ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS"];
    names.contains(&variable) || variable.starts_with("CARGO_BUILD_")
}

/// Takes agents from a folder. Returns the architecture of each, and the packed agent.
fn take(folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut agents = Vec::new();
    for (_, architecture, machine) in ARCHITECTURES {
        let path = folder.join(format!("netproof-probe-{architecture}"));
        if !path.exists() {
            continue;
        }
        let content = read(&path)?;
        let damaged = |damage: Damage| format!("{} is damaged: {}", path.display(), damage.reason());
        let packed = match Parts::of(&content) {
            Ok(_) => content,
            Err(Damage::NoFooter) => {
                pack(&read(&folder.join(format!("netproof-loader-{architecture}")))?, &content)
            }
            Err(damage) => return Err(damaged(damage)),
        };
        let Parts { loader, agent } = Parts::of(&packed).map_err(damaged)?;
        if [loader, &agent].iter().any(|program| elf_machine(program) != Some(machine)) {
            return Err(format!("{} or its loader is not a program for {architecture}", path.display()));
        }
        agents.push((architecture, packed));
    }
    if agents.is_empty() {
        let files = "netproof-probe-amd64 or netproof-probe-arm64";
        return Err(format!("NETPROOF_AGENTS={}: it has no file {files}", folder.display()));
    }
    Ok(agents)
}

/// Returns the number of the machine that an ELF program is for.
fn elf_machine(program: &[u8]) -> Option<u16> {
    let number = program.get(18..20)?.try_into().ok()?;
    program.starts_with(b"\x7fELF").then_some(u16::from_le_bytes(number))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("could not read {}: {error}", path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo sets no {name}: {error}"))
}
