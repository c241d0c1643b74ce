//! The scripts of `action.yml`, as a runner of GitHub calls them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Finished, file, folder, program};

/// A step of the action has ended.
struct Step {
    finished: Finished,
    /// The file that GitHub shows.
    summary: String,
    outputs: String,
}

impl Step {
    /// Returns the value of an output.
    fn output(&self, name: &str) -> &str {
        let start = format!("{name}=");
        self.outputs.lines().find_map(|line| line.strip_prefix(&start)).unwrap()
    }

    /// Returns the commands for the runner that come after the output of netproof.
    fn annotations(&self) -> Vec<&str> {
        let mut lines = self.finished.stdout.lines();
        let token = lines.find_map(|line| line.strip_prefix("::stop-commands::")).unwrap();
        let resume = format!("::{token}::");
        assert!(lines.by_ref().any(|line| line == resume), "{:?}", self.finished);
        lines.filter(|line| line.starts_with("::")).collect()
    }
}

/// Runs a script of the action with these inputs.
fn step(script: &str, name: &str, inputs: &[(&str, &str)]) -> Step {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    let place = folder().join("action").join(name);
    fs::create_dir_all(&place).unwrap();
    let (summary, outputs) = (place.join("summary"), place.join("outputs"));
    let mut command = Command::new(script);
    command.env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_OUTPUT", &outputs).env("RUNNER_TEMP", &place);
    command.env("GITHUB_PATH", place.join("path")).envs(inputs.iter().copied()).current_dir(folder());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Step { finished: output.into(), summary: read(summary), outputs: read(outputs) }
}

fn run(name: &str, inputs: &[(&str, &str)]) -> Step {
    let inputs: Vec<_> =
        [("NETPROOF", program().to_str().unwrap())].into_iter().chain(inputs.iter().copied()).collect();
    step("action-run", name, &inputs)
}

#[test]
fn a_leak_becomes_an_annotation_and_keeps_its_exit_code() {
    let scenario = file("action-web.yaml", include_str!("../docs/examples/web.yaml"));
    let step = run("leak", &[("SCENARIOS", &scenario), ("ARGS", "--fault 'ignore-udp'")]);
    assert_eq!(step.finished.code, Some(1), "{:?}", step.finished);
    let [annotation] = step.annotations()[..] else { unreachable!("{:?}", step.finished) };
    let leak = "tenant-b/client → tenant-a/web 80/UDP (IPv4): leak: connected";
    assert!(
        annotation.starts_with("::error file=action-web.yaml,title=netproof%3A 2 leaks::"),
        "{annotation}"
    );
    assert!(annotation.contains(&format!("only the tenant's own pods reach web%0A{leak}")), "{annotation}");
    assert!(step.summary.starts_with("### netproof run: failed\n"), "{}", step.summary);
    assert!(step.summary.contains("| 2 leaks | tenant-b/client → tenant-a/web 80/UDP"), "{}", step.summary);
    assert!(step.summary.contains("```text\nFAIL  2 leaks: 34 of 34 claims"), "{}", step.summary);
    assert_eq!(step.output("exit-code"), "1");
    assert!(fs::read_to_string(step.output("junit")).unwrap().contains("failures=\"1\""));
    assert!(fs::read_to_string(step.output("report")).unwrap().starts_with("FAIL  2 leaks"));
}

#[test]
fn a_pass_has_no_annotations() {
    let step = run("pass", &[("SCENARIOS", "default-deny")]);
    assert_eq!(step.finished.code, Some(0), "{:?}", step.finished);
    assert_eq!(step.annotations(), [""; 0]);
    assert!(step.summary.starts_with("### netproof run: passed\n"), "{}", step.summary);
    assert_eq!(step.output("exit-code"), "0");
}

/// What nobody measured is no pass, and the annotation says why.
#[test]
fn an_error_becomes_an_annotation() {
    let step = run("error", &[("CLUSTER_KUBECONFIG", "no-such-file"), ("SCENARIOS", "default-deny")]);
    assert_eq!(step.finished.code, Some(2), "{:?}", step.finished);
    let [annotation] = step.annotations()[..] else { unreachable!("{:?}", step.finished) };
    assert!(annotation.starts_with("::error title=netproof could not run::"), "{annotation}");
    assert!(annotation.contains("no-such-file"), "{annotation}");
    assert!(step.summary.starts_with("### netproof run: could not run\n"), "{}", step.summary);
    assert_eq!((step.output("exit-code"), step.output("junit")), ("2", ""));
}

/// Names come from the repository under test, which may be a stranger's.
#[test]
fn names_of_scenarios_are_no_commands_and_no_markup() {
    let step_name = "- name: \"::add-mask::x|`<b>`\\n::error::y\"";
    let text = include_str!("../docs/examples/web.yaml");
    let text = text.replace("- name: only the tenant's own pods reach web", step_name);
    assert!(text.contains(step_name));
    let scenario = file("action-hostile.yaml", text);
    let step = run("hostile", &[("SCENARIOS", &scenario), ("ARGS", "--fault ignore-udp")]);
    let commands = step.annotations();
    assert!(commands.len() == 1 && commands[0].starts_with("::error "), "{:?}", step.finished);
    assert!(!step.summary.split_once("```text").unwrap().0.contains("<b>"), "{}", step.summary);
}

#[test]
fn a_given_program_is_used_and_a_missing_one_is_named() {
    let binary = program().to_str().unwrap();
    let installed = step("action-install", "install", &[("BINARY", binary)]);
    assert_eq!(installed.finished.code, Some(0), "{:?}", installed.finished);
    assert_eq!(installed.output("netproof"), binary);
    let missing = step("action-install", "missing", &[("BINARY", "no/such/netproof")]);
    assert_eq!(missing.finished.code, Some(2));
    assert!(
        missing.finished.stdout.contains("::error title=netproof::binary: no/such/netproof"),
        "{:?}",
        missing.finished
    );
}

/// Returns the page of releases, in a folder, with a version that has one archive for this machine.
fn releases(name: &str, checksum: Option<&str>) -> String {
    let place = folder().join("action").join(name);
    let download = place.join("releases/download/v0.1.0");
    fs::create_dir_all(&download).unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let archive = format!("netproof-linux-{architecture}.tar.gz");
    let pack = Command::new("tar")
        .arg("-czf")
        .arg(download.join(&archive))
        .arg("-C")
        .arg(folder())
        .arg("netproof")
        .status();
    assert!(pack.unwrap().success());
    let sums = Command::new("sha256sum").arg(&archive).current_dir(&download).output().unwrap();
    let right = String::from_utf8(sums.stdout).unwrap();
    let sums = checksum.map_or(right, |sum| format!("{sum}  {archive}\n"));
    fs::write(download.join("SHA256SUMS"), sums).unwrap();
    format!("file://{}", place.join("releases").display())
}

#[test]
fn a_release_is_downloaded_and_one_with_another_checksum_is_refused() {
    program();
    let page = releases("release", None);
    // The action is used at a tag, and by branch, of which no release exists here.
    let installed = step("action-install", "release", &[("RELEASES", &page), ("ACTION_REF", "v0.1.0")]);
    assert_eq!(installed.finished.code, Some(0), "{:?}", installed.finished);
    let version = Command::new(installed.output("netproof")).arg("--version").output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("netproof ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let by_branch = step("action-install", "branch", &[("RELEASES", &page), ("ACTION_REF", "main")]);
    assert_eq!(by_branch.finished.code, Some(2));
    assert!(by_branch.finished.stdout.contains("releases/latest/download/"), "{:?}", by_branch.finished);

    let page = releases("altered", Some(&"0".repeat(64)));
    let altered = step("action-install", "altered", &[("RELEASES", &page), ("VERSION", "0.1.0")]);
    assert_eq!(altered.finished.code, Some(2), "{:?}", altered.finished);
    assert!(altered.finished.stdout.contains("does not have the checksum"), "{:?}", altered.finished);
}
