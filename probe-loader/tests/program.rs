//! A packed agent as a program: it behaves as the agent does, and says what it cannot do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use netproof_loader::{Footer, Parts, pack};

/// What fits into a ConfigMap beside its names: 1 MiB, less a margin for agents to come.
const LARGEST: usize = 900_000;

/// Builds a program with the script of its crate. Returns its path.
fn build(name: &str) -> PathBuf {
    let script = format!("{}/../{name}/build.sh", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

/// Returns the agent as it is without the loader.
fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| build("probe-image"))
}

fn packed() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| pack(&fs::read(build("probe-loader")).unwrap(), &fs::read(agent()).unwrap()))
}

/// A folder with a program that every user can run.
struct Installed {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Installed {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let [written, program] = ["content", "packed"].map(|name| folder.path().join(name));
        fs::write(&written, content).unwrap();
        // A program that another test starts at this moment inherits the file that is written here, and for as long the
        // kernel does not run it (ETXTBSY). Nobody inherits the copy.
        let copied = Command::new("cp").args([&written, &program]).status().unwrap();
        assert!(copied.success(), "{copied}");
        fs::remove_file(&written).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o555)).unwrap();
        Self { folder, program }
    }

    /// Returns a command that runs the program with these arguments, after a line of shell.
    fn after(&self, line: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{line}; exec \"$0\" \"$@\"")).arg(&self.program).args(arguments);
        command.env("TMPDIR", self.folder.path());
        command
    }

    /// Like `after`, in namespaces where the line may change settings of the kernel and mount file systems.
    fn in_namespaces(&self, line: &str, arguments: &[&str]) -> Command {
        let shell = self.after(line, arguments);
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]);
        command.arg(shell.get_program()).args(shell.get_args()).env("TMPDIR", self.folder.path());
        command
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Checks that a command fails with this code. Returns its message.
#[track_caller]
fn refusal(output: &Output, code: i32) -> &str {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(output.stdout, b"");
    let line = text(&output.stderr).strip_prefix("netproof-loader: ").unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end()
}

fn same(left: &Output, right: &Output) {
    assert_eq!(left.status, right.status);
    assert_eq!(text(&left.stdout), text(&right.stdout));
    assert_eq!(text(&left.stderr), text(&right.stderr));
}

#[test]
fn a_packed_agent_fits_into_a_config_map() {
    let size = packed().len();
    assert!(size < LARGEST, "{size} bytes");
    let parts = Parts::of(packed()).unwrap();
    assert!(parts.loader.len() < 20_000, "the loader has {} bytes", parts.loader.len());
    assert!(parts.agent == fs::read(agent()).unwrap(), "another agent");
}

#[test]
fn a_packed_agent_prints_what_the_agent_prints() {
    let packed = Installed::new(packed());
    for arguments in
        [&["--version"][..], &["--help"], &["--no-such-option", "a b"], &["--name", "a"], &["--name", ""]]
    {
        let run = |program: &Path| {
            let mut command = Command::new(program);
            command.args(arguments).env_remove("NETPROOF_TOKEN").output().unwrap()
        };
        same(&run(&packed.program), &run(agent()));
    }
}

#[test]
fn the_agent_gets_arguments_and_environment_and_nothing_else() {
    let packed = Installed::new(packed());
    let mut command = packed.after("exec 3</dev/null", &["--name", "x/ä b"]);
    let mut child = command.env("NETPROOF_TOKEN", "a token").stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let program = fs::read_link(process.join("exe"));
    let arguments = fs::read(process.join("cmdline"));
    let environment = fs::read(process.join("environ"));
    let files = fs::read_dir(process.join("fd")).unwrap().map(|file| fs::read_link(file.unwrap().path()));
    let files = files.flatten().map(|file| file.display().to_string()).collect::<Vec<_>>();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready.contains("127.0.0.1:"), "{ready}");
    assert_eq!(program.unwrap(), Path::new("/memfd:netproof-probe (deleted)"));
    let expected = format!("{}\0--name\0x/ä b\0", packed.program.display());
    assert_eq!(text(&arguments.unwrap()), expected);
    assert!(text(&environment.unwrap()).split('\0').any(|variable| variable == "NETPROOF_TOKEN=a token"));
    assert!(!files.iter().any(|file| file.contains("memfd") || file.contains("packed")), "{files:?}");
}

#[test]
fn a_damaged_agent_is_refused() {
    let change = |from_end: usize| {
        let mut content = packed().to_vec();
        let place = content.len() - from_end;
        content[place] ^= 0x10;
        let installed = Installed::new(&content);
        let output = Command::new(&installed.program).arg("--version").output().unwrap();
        refusal(&output, 65).to_owned()
    };
    let damaged = "the packed agent is damaged: ";
    assert_eq!(change(1), format!("{damaged}it does not end with a footer of this version"));
    assert_eq!(change(Footer::SIZE), format!("{damaged}its compressed data are not valid"));
    assert_eq!(change(Footer::SIZE + 1), format!("{damaged}the checksum of the agent is another"));
    for from_end in [100_000, 400_000, 700_000] {
        assert!(change(from_end).starts_with(damaged));
    }
}

#[test]
fn unpacking_needs_little_memory() {
    let mut content = packed().to_vec();
    let last = content.len() - Footer::SIZE - 1;
    content[last] ^= 1;
    // The checksum is wrong, so all is unpacked and nothing is executed.
    let installed = Installed::new(&content);
    let output = installed.after("ulimit -s 200; ulimit -v 600", &["--version"]).output().unwrap();
    assert!(refusal(&output, 65).ends_with("the checksum of the agent is another"));
}

#[test]
fn the_agent_runs_without_any_privilege() {
    let packed = Installed::new(packed());
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs");
    if is_root() {
        command.args(["--reuid=65532", "--regid=65532", "--clear-groups", "--bounding-set=-all"]);
    }
    let output = command.arg(&packed.program).arg("--version").output().unwrap();
    same(&output, &Command::new(agent()).arg("--version").output().unwrap());
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

#[test]
fn a_full_memory_is_reported() {
    let packed = Installed::new(packed());
    let output = packed.after("trap '' XFSZ; ulimit -f 100", &["--version"]).output().unwrap();
    let folder = packed.folder.path().display().to_string();
    assert_eq!(
        refusal(&output, 73),
        format!(
            "cannot run the agent from memory (write: file too large) nor from {folder} (write: file too large): \
             mount an emptyDir with medium Memory there, or name another folder in TMPDIR"
        )
    );
}

/// Forbids programs in memory, as a node may do. Other processes of this machine are not affected.
const FORBID: &str = "echo 2 >/proc/sys/vm/memfd_noexec || exit 99";

/// Runs a command that needs `FORBID`. Returns nothing if the system does not allow it.
fn forbidden(mut command: Command) -> Option<Output> {
    let output = command.output().unwrap();
    let denied = output.status.code() == Some(99) || text(&output.stderr).starts_with("unshare: ");
    if denied {
        // The harness shows the output of `eprintln!` only for failing tests.
        let note = "skipped: vm.memfd_noexec cannot be set here";
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    (!denied).then_some(output)
}

#[test]
fn a_folder_is_used_where_memory_is_forbidden() {
    let packed = Installed::new(packed());
    let Some(output) = forbidden(packed.in_namespaces(FORBID, &["--version"])) else { return };
    same(&output, &Command::new(agent()).arg("--version").output().unwrap());
    let left = fs::read_dir(packed.folder.path()).unwrap().count();
    assert_eq!(left, 1, "only the program is left in the folder");
    // Level 1 allows it to programs that ask.
    let asks =
        packed.in_namespaces("echo 1 >/proc/sys/vm/memfd_noexec || exit 99; TMPDIR=/proc", &["--version"]);
    if let Some(output) = forbidden(asks) {
        same(&output, &Command::new(agent()).arg("--version").output().unwrap());
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_reported() {
    let packed = Installed::new(packed());
    let folder = packed.folder.path().display().to_string();
    for (line, reason) in [
        ("export TMPDIR=/no/such", "/no/such (create: no such file or directory)".to_owned()),
        (
            "mount -t tmpfs -o size=512k none /mnt; export TMPDIR=/mnt",
            "/mnt (write: no space left on device)".to_owned(),
        ),
        (
            "mount -t tmpfs -o ro none /mnt; export TMPDIR=/mnt",
            "/mnt (create: read-only file system)".to_owned(),
        ),
        (
            "mount -t tmpfs -o noexec none /mnt; export TMPDIR=/mnt",
            "/mnt (execute: permission denied)".to_owned(),
        ),
        ("mount -t tmpfs -o noexec none /tmp; unset TMPDIR", "/tmp (execute: permission denied)".to_owned()),
        ("ulimit -f 100; trap '' XFSZ", format!("{folder} (write: file too large)")),
    ] {
        // The program may be below `/tmp`.
        let line = format!("{FORBID}; exec 3<\"$0\"; {line}; set -- \"$@\"; exec /proc/self/fd/3 \"$@\"");
        let Some(output) = forbidden(packed.in_namespaces(&line, &["--version"])) else { return };
        let message = refusal(&output, 73);
        let start =
            format!("cannot run the agent from memory (create: permission denied) nor from {reason}: mount ");
        assert!(message.starts_with(&start), "{message}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_reported() {
    let packed = Installed::new(packed());
    // Without `/proc`, a program cannot find its own file.
    let line = "mount -t tmpfs none /proc || exit 99";
    let Some(output) = forbidden(packed.in_namespaces(line, &["--version"])) else { return };
    assert_eq!(refusal(&output, 66), "cannot read the packed agent: no such file or directory");
}

#[test]
fn standard_input_reaches_the_agent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let packed = Installed::new(packed());
    let mut command = Command::new(&packed.program);
    command.arg("--connect").arg(listener.local_addr().unwrap().to_string());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let mut received = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    assert_eq!(received, *b"hello");
}
