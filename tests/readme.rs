//! What the README shows is what the program prints.

use crate::machine::{User, file, library, run};

const README: &str = include_str!("../README.md");

/// Words without the durations, which differ from run to run, and the width of columns, which follows them.
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

#[test]
fn the_leak_that_it_shows_is_found() {
    let (_, after) = README.split_once("    scripts/run scenarios/").unwrap();
    let (arguments, after) = after.split_once('\n').unwrap();
    let (_, block) = after.split_once("```text\n").unwrap();
    let (shown, _) = block.split_once("```").unwrap();

    // The same file, where every user may read it.
    let arguments = format!("{}/{arguments}", library().display());
    let arguments: Vec<&str> = ["run"].into_iter().chain(arguments.split(' ')).collect();
    let finished = run(User::Ordinary, &arguments);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert_eq!(words(&finished.stdout), words(shown));
}

/// The example of the format once failed: it forgot what else sends and receives.
#[test]
fn the_scenario_that_the_format_shows_passes() {
    let (_, after) = include_str!("../docs/scenarios.md").split_once("This is a whole scenario").unwrap();
    let (_, block) = after.split_once("```yaml\n").unwrap();
    let (content, _) = block.split_once("```").unwrap();
    let path = file("web.yaml", content);
    let finished = run(User::Ordinary, ["run", path.to_str().unwrap()]);
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["run", "compare", "selftest", "expect", "fuzz", "image", "cleanup"] {
        let finished = run(User::Ordinary, [command, "--help"]);
        assert_eq!(finished.code, Some(0));
        assert!(finished.stdout.contains("Examples:\n  netproof "), "{command}: {}", finished.stdout);
        assert!(README.contains(&format!("netproof {command} ")), "the README shows {command}");
    }
    let finished = run(User::Ordinary, ["--help"]);
    assert!(finished.stdout.contains("Exit codes:"));
}

#[test]
fn faults_are_listed_with_explanations() {
    let finished = run(User::Ordinary, ["run", "--list-faults"]);
    assert_eq!(finished.code, Some(0));
    insta::assert_snapshot!("faults", finished.stdout);
}
