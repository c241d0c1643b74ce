//! Every command in the documentation works: all of them are parsed, and those in plain `sh` blocks are run.
//!
//! The lines of a block that begins with ```` ```sh ```` run in a copy of docs/examples/, one for each page. The exit code of a line is 0, or N
//! if the line has the comment `# exit code N`. Blocks `sh cluster` need a cluster, and blocks `sh slow` need too much time:
//! their commands are only parsed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{copy_folder, folder};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A line of a shell block that calls netproof.
#[derive(Debug)]
struct Line {
    /// The file and the line number.
    place: String,
    text: String,
    is_run: bool,
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let others = ["README.md", "CONTRIBUTING.md", "deploy/README.md"].map(|name| Path::new(ROOT).join(name));
    docs.chain(others).collect()
}

fn lines(page: &Path) -> Vec<Line> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(ROOT).unwrap().display();
    let mut block = None;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), block) {
            (Some(info), None) => block = Some(info.trim()),
            (Some(_), Some(_)) => block = None,
            (None, Some(info)) if info == "sh" || info.starts_with("sh ") => {
                if line.split_whitespace().any(|word| word == "netproof")
                    && !line.trim_start().starts_with('#')
                {
                    let (place, text) = (format!("{name}:{}", index + 1), line.trim().to_owned());
                    found.push(Line { place, text, is_run: info == "sh" });
                }
            }
            (None, _) => {}
        }
    }
    found
}

/// Returns the words of each call of netproof in a line.
fn calls(line: &str) -> Vec<Vec<String>> {
    let words = shlex::split(line).unwrap_or_else(|| unreachable!("this is no shell command: {line}"));
    let is_end = |word: &String| matches!(word.as_str(), "|" | "&&" | "||" | ";" | ">" | "2>" | ">>" | "<");
    let parts = words.split(is_end).map(<[String]>::to_vec);
    parts.filter(|part| part.first().is_some_and(|word| word == "netproof")).collect()
}

#[test]
fn every_command_of_the_documentation_is_one() {
    let mut count = 0;
    for line in pages().iter().flat_map(|page| lines(page)) {
        for call in calls(&line.text) {
            count += 1;
            if let Err(error) = netproof::cli::command().try_get_matches_from(&call) {
                assert!(!error.use_stderr(), "{}: {}\n{error}", line.place, line.text);
            }
        }
    }
    assert!(count > 50, "only {count} commands were found");
}

#[test]
fn the_commands_of_the_documentation_end_as_it_says() {
    let pages = pages();
    // Most commands wait for packets, so two pages are read at the same time.
    let count: usize = std::thread::scope(|scope| {
        let run_pages = |first| pages.iter().skip(first).step_by(2).map(|page| run_page(page)).sum::<usize>();
        let running = [0, 1].map(|first| scope.spawn(move || run_pages(first)));
        running.map(|half| half.join().unwrap()).iter().sum()
    });
    assert!(count > 10, "only {count} lines are run");
}

/// Runs the commands of a page in a copy of docs/examples/. Returns their count.
fn run_page(page: &Path) -> usize {
    let lines: Vec<Line> = lines(page).into_iter().filter(|line| line.is_run).collect();
    let examples = folder().join("docs-examples").join(page.strip_prefix(ROOT).unwrap());
    copy_folder(&Path::new(ROOT).join("docs/examples"), &examples);
    let program = Path::new(env!("CARGO_BIN_EXE_netproof")).parent().unwrap().display();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    for line in &lines {
        let code = line.text.split_once("# exit code ").map_or("0", |(_, code)| code.trim());
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &line.text]).current_dir(&examples).env("PATH", &path);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let ended = output.status.code().map(|code| code.to_string());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(ended.as_deref(), Some(code), "{}: {}\n{said}", line.place, line.text);
    }
    lines.len()
}
