//! The README shows what the program prints.

use crate::support::{file, library, netproof};
use crate::verify::without_proof;

const README: &str = include_str!("../README.md");

/// Returns the words of a text. Durations are replaced, because they vary, and with them the width of columns.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for i in 1..words.len() {
        let number = words[i - 1].trim_end_matches(',');
        if matches!(words[i].trim_end_matches(','), "s" | "ms") && number.parse::<f64>().is_ok() {
            words[i - 1] = "0".to_owned();
            words[i] = "s".to_owned();
        }
    }
    words
}

/// Returns the content of the first block of code in a language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0
}

#[test]
fn the_leak_that_it_shows_is_found() {
    let (_, after) = README.split_once("    scripts/run scenarios/").unwrap();
    let (arguments, after) = after.split_once('\n').unwrap();
    let shown = block(after, "text");

    let arguments = library(arguments);
    let arguments: Vec<&str> = ["run"].into_iter().chain(arguments.split(' ')).collect();
    let finished = netproof(&arguments, &[]).exits(1);
    assert_eq!(words(&finished.stdout), words(shown));
}

#[test]
fn the_answer_about_tenants_that_it_shows_is_given() {
    let (_, after) = README.split_once("## Check the tenants of a live cluster").unwrap();
    let shown = block(after, "text");

    let tenants = include_str!("../examples/tenants/guide/tenants.yaml");
    let manifests = include_str!("../examples/tenants/guide/manifests.yaml");
    let manifests = manifests.replace("{k8s-app: kube-dns}", "{k8s-app: coredns}");
    let tenants = file("tenants/guide/tenants.yaml", tenants);
    let finished =
        netproof(&["verify", "--tenants", &tenants], &[&file("readme-manifests.yaml", manifests)]).exits(1);
    // How often a denial is probed depends on the load of the machine.
    assert_eq!(words(&without_proof(&finished.stdout)), words(&without_proof(shown)));
}

/// Regression: the example of the format failed, because it omitted other senders and receivers.
#[test]
fn the_scenario_that_the_format_shows_passes() {
    let (_, after) = include_str!("../docs/scenarios.md").split_once("This is a whole scenario").unwrap();
    netproof(&["run", &file("web.yaml", block(after, "yaml"))], &[]).exits(0);
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = [
        "run",
        "verify",
        "compare",
        "expect",
        "tenants",
        "selftest",
        "fuzz",
        "cleanup",
        "image",
        "completions",
    ];
    for command in commands {
        let finished = netproof(&[command, "--help"], &[]).exits(0);
        assert!(finished.stdout.contains("Examples:\n  netproof "), "{command}: {}", finished.stdout);
        assert!(README.contains(&format!("netproof {command} ")), "the README shows {command}");
    }
    for command in [&["--help"][..], &["run", "--help"], &["compare", "--help"], &["fuzz", "--help"]] {
        assert!(netproof(command, &[]).stdout.contains("Exit codes:"), "{command:?}");
    }
}

#[test]
fn faults_are_listed_with_explanations() {
    insta::assert_snapshot!("faults", netproof(&["run", "--list-faults"], &[]).exits(0).stdout);
}
