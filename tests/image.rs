//! `netproof image`: other programs read the archive, and tools load it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use insta::assert_snapshot;
use netproof::image::{Binary, DEFAULT_IMAGE};
use serde_json::{Value, json};

use crate::agent::{binary, built};
use crate::support::{Finished, User, command, file, folder, is_root, program};

/// Returns the command `netproof image`, as the user that runs the tests.
fn image<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = command(if is_root() { User::Root } else { User::Ordinary });
    command.arg("image").args(arguments);
    command
}

/// Returns the option for a real static agent.
fn agent() -> [&'static str; 2] {
    ["--agent", binary().to_str().unwrap()]
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the message of a command that refuses.
fn refusal(command: &mut Command) -> String {
    let message = Finished::from(command.output().unwrap()).refusal();
    message.replace(&format!("{}/", folder().display()), "")
}

/// Unpacks an archive with `tar`, not with the program that packed it.
fn unpack(archive: &Path, to: &str) -> PathBuf {
    let to = folder().join(to);
    fs::create_dir_all(&to).unwrap();
    succeed(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&to));
    to
}

fn sha256(path: &Path) -> String {
    text(succeed(Command::new("sha256sum").arg(path))).split(' ').next().unwrap().to_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_image_has_the_agent_and_nothing_else() {
    let path = folder().join("image.tar");
    let saved = succeed(image(["save", path.to_str().unwrap()]).args(agent()));
    let message = String::from_utf8(saved.stderr).unwrap();
    assert!(message.starts_with(&format!("saved {DEFAULT_IMAGE} (")), "{message}");

    let unpacked = unpack(&path, "image");
    let manifest = json(&unpacked.join("manifest.json"));
    assert_eq!(manifest[0]["RepoTags"], json!([DEFAULT_IMAGE]));
    assert_eq!(manifest[0]["Layers"], json!(["layer.tar"]));
    let config_path = unpacked.join(manifest[0]["Config"].as_str().unwrap());
    assert_eq!(manifest[0]["Config"], format!("{}.json", sha256(&config_path)));
    let config = json(&config_path);
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/netproof-probe"]));
    let layer = unpacked.join("layer.tar");
    assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&layer))]));

    let listed = succeed(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&layer).env("TZ", "UTC"));
    let words = text(listed).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let size = fs::metadata(binary()).unwrap().len().to_string();
    assert_eq!(words, ["-rwxr-xr-x", "0/0", &size, "1970-01-01", "00:00", "netproof-probe"]);
    let root = unpack(&layer, "image/root");
    let version = text(succeed(Command::new(root.join("netproof-probe")).arg("--version")));
    assert_eq!(version, format!("netproof-probe {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_image_is_the_same_in_a_file_and_on_standard_output() {
    let path = folder().join("same.tar");
    succeed(image(["save", path.to_str().unwrap()]).args(agent()));
    let printed = succeed(image(["save", "-"]).args(agent()));
    assert!(fs::read(&path).unwrap() == printed.stdout, "the file differs from what is printed");
    assert_eq!(printed.stderr, b"");
}

#[test]
fn the_agent_is_found_beside_the_program() {
    let here = folder().join("installed");
    fs::create_dir_all(&here).unwrap();
    fs::hard_link(program(), here.join("netproof")).unwrap();
    fs::copy(binary(), here.join("netproof-probe")).unwrap();
    let printed = succeed(Command::new(here.join("netproof")).args(["image", "save", "-"]));
    let plain = succeed(image(["save", "-"]).args(agent())).stdout;
    assert!(printed.stdout == plain);

    // It may be packed. The image has the plain agent.
    let packed =
        netproof_loader::pack(&fs::read(built("probe-loader")).unwrap(), &fs::read(binary()).unwrap());
    fs::write(here.join("netproof-probe"), packed).unwrap();
    let printed = succeed(Command::new(here.join("netproof")).args(["image", "save", "-"]));
    assert!(printed.stdout == plain);
}

#[test]
fn another_name_keeps_its_tag_or_gets_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (name, tagged) in [
        ("registry.example:5000/team/probe", format!("registry.example:5000/team/probe:{version}")),
        ("probe:one", "probe:one".to_owned()),
    ] {
        let path = folder().join("named.tar");
        succeed(image(["save", path.to_str().unwrap(), "--image", name]).args(agent()));
        let manifest = json(&unpack(&path, "named").join("manifest.json"));
        assert_eq!(manifest[0]["RepoTags"], json!([tagged]));
    }
}

#[test]
fn what_cannot_be_the_agent_is_refused() {
    let mut messages = String::new();
    let mut save = |agent: &str| messages.push_str(&refusal(&mut image(["save", "-", "--agent", agent])));
    save("image-bad/not-there");
    save(".");
    save("/dev/zero");
    save(&file("image-bad/empty", ""));
    save(&file("image-bad/script", "#!/bin/sh\n"));
    let whole = fs::read(binary()).unwrap();
    save(&file("image-bad/cut-off", &whole[..whole.len() / 2]));
    let mut other = whole;
    other[18] = 8;
    save(&file("image-bad/mips", &other));
    // netproof itself is a dynamic binary.
    save(program().to_str().unwrap());
    let nothing_beside = folder().join("alone/netproof");
    fs::create_dir_all(nothing_beside.parent().unwrap()).unwrap();
    fs::hard_link(program(), &nothing_beside).unwrap();
    messages.push_str(&refusal(Command::new(&nothing_beside).args(["image", "save", "-"])));
    assert_snapshot!(messages.replace("alone/", ""));
}

#[test]
fn wrong_usage_of_image_is_explained() {
    let mut messages = String::new();
    let mut refuse = |arguments: &[&str]| {
        let message = refusal(image(arguments.iter().copied()).args(agent()));
        messages.push_str(&message.replace(DEFAULT_IMAGE, "netproof-probe:VERSION"));
    };
    refuse(&["save", "-", "--image", ""]);
    refuse(&["save", "-", "--image", "Probe"]);
    refuse(&["save", "-", "--image", "probe@sha256:00"]);
    refuse(&["save", "no/such/folder/image.tar"]);
    refuse(&["load"]);
    refuse(&["load", "--kind", "a", "--containerd", "/run/containerd.sock"]);
    refuse(&["load", "--kind", ""]);
    refuse(&["load", "--containerd", "no/such.sock"]);
    refuse(&["load", "--containerd", "netproof"]);
    assert_snapshot!(messages);
}

#[test]
fn a_terminal_gets_no_image() {
    let line = format!("{} image save - {}", program().display(), agent().join(" "));
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim_end(),
        "error: an image is nothing for a terminal: name a file, or send standard output somewhere"
    );
}

/// Writes a program that is this script. Returns its folder, for `PATH`.
fn tool(name: &str, folder_name: &str, script: &str) -> PathBuf {
    let script = format!("#!/bin/sh\ncd {}\n{script}", folder().display());
    let path = folder().join(file(&format!("{folder_name}/{name}"), script));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder().join(folder_name)
}

fn load_with<'a>(path: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = image(["load"]);
    command.args(arguments).args(agent()).env("PATH", path);
    command
}

/// Checks what kind gets. The script does not replace the work of kind.
#[test]
fn kind_gets_a_file_that_is_gone_afterwards() {
    let path = tool("kind", "kind-works", "echo \"$@\" >kind.arguments\n/bin/cp \"$3\" kind.tar\n");
    let output = succeed(&mut load_with(&path, ["--kind", "test"]));
    assert_eq!(output.stdout, b"");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with(&format!("loaded {DEFAULT_IMAGE} (")), "{message}");
    assert!(message.ends_with(") into the kind cluster test\n"), "{message}");

    let arguments = fs::read_to_string(folder().join("kind.arguments")).unwrap();
    let words: Vec<_> = arguments.split_whitespace().collect();
    let [load, archive, temporary, name, test] = words[..] else { unreachable!("{arguments}") };
    assert_eq!([load, archive, name, test], ["load", "image-archive", "--name", "test"]);
    assert!(!Path::new(temporary).exists(), "{temporary} is left behind");
    let image = succeed(image(["save", "-"]).args(agent())).stdout;
    assert!(fs::read(folder().join("kind.tar")).unwrap() == image, "another image");
}

#[test]
fn tools_that_fail_are_shown() {
    let mut messages = String::new();
    let socket = folder().join("containerd.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let socket = socket.to_str().unwrap();
    let empty = folder().join("no-tools");
    fs::create_dir_all(&empty).unwrap();
    let mut refuse = |path: &Path, arguments: [&str; 2]| {
        messages.push_str(&refusal(load_with(path, arguments).env("TMPDIR", folder())));
    };
    refuse(&empty, ["--kind", "test"]);
    refuse(&empty, ["--containerd", socket]);
    let kind = "echo 'ERROR: no nodes found for cluster \"test\"' >&2\necho progress\nexit 1\n";
    let kind = tool("kind", "kind-fails", kind);
    refuse(&kind, ["--kind", "test"]);
    // This one ends without reading the image, which is larger than a pipe.
    refuse(&tool("ctr", "ctr-fails", "echo 'ctr: no space' >&2\nexit 1\n"), ["--containerd", socket]);
    refuse(&tool("ctr", "ctr-silent", "exit 3\n"), ["--containerd", socket]);
    refuse(&tool("ctr", "ctr-lies", "exit 0\n"), ["--containerd", socket]);
    let architecture = Binary::read(binary()).unwrap().architecture();
    let messages = messages.replace(&format!("{DEFAULT_IMAGE} ({architecture})"), "IMAGE");
    // The name of the temporary file is random.
    let words =
        messages.split(' ').map(|word| if word.starts_with("netproof-probe-") { "FILE" } else { word });
    assert_snapshot!(words.collect::<Vec<_>>().join(" "));
}

/// Needs a containerd, whose socket `NETPROOF_CONTAINERD` names, and `ctr` on the `PATH`.
#[test]
fn a_real_containerd_takes_the_image() {
    let Ok(socket) = std::env::var("NETPROOF_CONTAINERD") else {
        // The harness shows the output of `eprintln!` only for failing tests.
        let note = "skipped: no containerd takes the image: name the socket of one in NETPROOF_CONTAINERD";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let name = "registry.example/netproof/test-image:1";
    let ctr = |arguments: &[&str]| {
        let mut command = Command::new("ctr");
        command.args(["-a", &socket, "-n", "k8s.io", "images"]).args(arguments);
        text(succeed(&mut command))
    };
    let before = ctr(&["ls", "-q"]);
    // Loads twice, by path and by URL. Loading again is no error.
    let url = format!("unix://{socket}");
    let mut load = image(["load", "--containerd", &socket, "--containerd", &url, "--image", name]);
    let loaded = succeed(load.args(agent()));
    assert_eq!(String::from_utf8(loaded.stderr).unwrap().lines().count(), 2);

    let listed = ctr(&["ls", &format!("name=={name}")]);
    let checked = ctr(&["check", &format!("name=={name}")]);
    let mounted = folder().join("mounted");
    fs::create_dir_all(&mounted).unwrap();
    ctr(&["mount", name, mounted.to_str().unwrap()]);
    let content = fs::read(mounted.join("netproof-probe"));
    ctr(&["unmount", "--rm", mounted.to_str().unwrap()]);
    // The CRI plugin of containerd adds a second name, by digest, to images that it notices.
    for added in ctr(&["ls", "-q"]).lines().filter(|name| !before.lines().any(|other| other == *name)) {
        ctr(&["rm", added]);
    }
    assert!(listed.contains(" linux/"), "{listed}");
    assert!(checked.contains("complete (1/1)") || checked.contains("complete (2/2)"), "{checked}");
    assert!(content.unwrap() == fs::read(binary()).unwrap(), "another agent");
}
