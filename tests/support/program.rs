//! Runs the program, as root and as an ordinary user, in a folder that both can read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The user that runs the program. Everything that concerns the lab is tested as both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The real root if the tests run as root, the root of a user namespace if they do not.
    Root,
    /// A user without any privilege.
    Ordinary,
}

impl User {
    pub(crate) const ALL: [Self; 2] = [Self::Root, Self::Ordinary];
}

/// Returns whether the tests themselves run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Beginning of the names of the folders in which tests run, before the id of the process.
const FOLDERS: &str = "netproof-tests-";

/// Returns the folder in which the program runs. It is outside of the project, and every user can read it. Nothing runs
/// when the tests end, so the next tests remove it.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        remove_leftovers();
        let prefix = format!("{FOLDERS}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        folder.keep()
    })
}

/// Removes the folders of tests that have ended.
fn remove_leftovers() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDERS).and_then(|rest| rest.split_once('-'));
        if process.is_some_and(|(id, _)| !Path::new("/proc").join(id).exists()) {
            // It may belong to another user, or another process may be removing it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns a copy of the program that every user can start: other users may not be able to read the checkout.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let copy = folder().join("netproof");
        fs::copy(env!("CARGO_BIN_EXE_netproof"), &copy).unwrap();
        copy
    })
}

/// Writes a file that every user can read. Returns its name, which is a path for the program.
pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Another test may be reading the same file, so the new content replaces the old one at once.
    let part = path.with_extension(format!("{:016x}.part", fastrand::u64(..)));
    fs::write(&part, content).unwrap();
    fs::rename(&part, &path).unwrap();
    name.to_owned()
}

/// Writes an empty file that every user can write.
pub(crate) fn writable_file(name: &str) -> PathBuf {
    let path = folder().join(file(name, ""));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    path
}

/// Returns the command that starts the program as a user, without arguments.
pub(crate) fn command(user: User) -> Command {
    let mut command = match (user, is_root()) {
        (User::Root, true) | (User::Ordinary, false) => Command::new(program()),
        (User::Ordinary, true) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program());
            command
        }
        (User::Root, false) => {
            let mut command = Command::new("unshare");
            command.arg("--map-root-user").arg(program());
            command
        }
    };
    command.current_dir(folder()).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    command
}

/// The output of a command and its exit code.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Checks that the program refused its input: exit code 2 and nothing on standard output. Returns the message.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        self.stderr
    }

    /// Returns standard output, which has to be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| unreachable!("{error}: {self:?}"))
    }
}

/// Runs the program as a user, and waits for its end.
pub(crate) fn run<S: AsRef<OsStr>>(user: User, arguments: impl IntoIterator<Item = S>) -> Finished {
    command(user).args(arguments).output().unwrap().into()
}

/// Runs the program as an ordinary user: the first arguments are the same for a whole test, the others are not.
pub(crate) fn netproof(first: &[&str], others: &[&str]) -> Finished {
    run(User::Ordinary, first.iter().chain(others))
}

/// Runs a scenario as an ordinary user. The report is JSON.
pub(crate) fn run_json(scenario: &str, options: &[&str]) -> Finished {
    netproof(&["run", scenario, "-o", "json"], options)
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process.try_into().unwrap()), signal).unwrap();
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
