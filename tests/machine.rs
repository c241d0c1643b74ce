//! Running the program: as root and as an ordinary user, from a folder that both may read.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

/// Who runs the program. Everything that concerns the lab is tested as both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Root: the real one, or where the tests do not run as root, that of a user namespace.
    Root,
    /// Somebody without any privilege.
    Ordinary,
}

impl User {
    pub(crate) const ALL: [Self; 2] = [Self::Root, Self::Ordinary];
}

/// Whether the tests themselves run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A folder outside the project that everybody may read. It stays until the tests end.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            folder
        })
        .path()
}

/// The program, where everybody may start it: the checkout may be in a closed folder.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let copy = folder().join("netproof");
        fs::copy(env!("CARGO_BIN_EXE_netproof"), &copy).unwrap();
        copy
    })
}

/// A file with this content, which everybody may read.
pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Another test may be reading the same file: it is never there in part.
    let part = path.with_extension(format!("{:016x}.part", fastrand::u64(..)));
    fs::write(&part, content).unwrap();
    fs::rename(&part, &path).unwrap();
    path
}

/// The program as somebody's command, without arguments.
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

/// What a command printed and how it ended.
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
    /// What it printed, which has to be JSON.
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| unreachable!("{error}: {self:?}"))
    }
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(user: User, arguments: impl IntoIterator<Item = S>) -> Finished {
    command(user).args(arguments).output().unwrap().into()
}

/// The folder of the scenario library, where everybody may read it.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let (from, to) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"), folder().join("scenarios"));
        copy_folder(&from, &to);
        to
    })
}

/// Small scenarios for tests that look at every verdict. Together they decide most items of the semantics.
pub(crate) const BASICS: [&str; 27] = [
    "aks-managed-namespaces",
    "default-deny",
    "dns-label-mismatch",
    "dual-stack",
    "host-network",
    "ip-block",
    "ip-block-pods",
    "named-ports",
    "named-ports-of-host-network",
    "namespace-selector-empty",
    "namespaces-only",
    "pods-come-and-go",
    "pods-that-end",
    "policy-lifecycle",
    "policy-types",
    "port-items",
    "port-range",
    "relabelling",
    "same-namespace-and-dns",
    "security-zones",
    "selectors",
    "shared-ingress",
    "target-ports",
    "team-segmentation",
    "tenant-baseline",
    "two-customers",
    "union",
];

/// The file of a scenario of the library. It has the name of the scenario, and the folder does not matter.
pub(crate) fn scenario_file(name: &str) -> PathBuf {
    let folders = fs::read_dir(library()).unwrap().map(|folder| folder.unwrap().path());
    let mut files = folders.map(|folder| folder.join(format!("{name}.yaml")));
    files.find(|file| file.is_file()).unwrap_or_else(|| unreachable!("the library has no scenario {name}"))
}

fn copy_folder(from: &Path, to: &Path) {
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
