//! Folders whose manifests have to be built first: by kustomize or by Helm.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::files::{STDIN, find, name_of};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
const CHART: &str = "Chart.yaml";

/// Refuses what kustomize or Helm make manifests of: read as they are, they mean something else. `command` is what
/// reads the manifests from standard input.
///
/// # Errors
/// If a path is a folder of kustomize or a chart, has one in it, or is the file that describes it.
pub fn refuse_unbuilt(paths: &[PathBuf], command: &str) -> Result<(), Error> {
    for path in paths.iter().filter(|path| path.as_os_str() != STDIN) {
        if path.is_dir() {
            let mut folders = vec![path.as_path()];
            let files = find(path)?;
            folders.extend(files.iter().filter_map(|file| file.parent()));
            folders.dedup();
            for folder in folders {
                refuse_folder(folder, command)?;
            }
        } else if path
            .file_name()
            .is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known) || name == CHART)
        {
            refuse_folder(path.parent().unwrap_or(Path::new("")), command)?;
        }
    }
    Ok(())
}

fn refuse_folder(folder: &Path, command: &str) -> Result<(), Error> {
    let has = |name: &str| folder.join(name).is_file();
    let refused = |file: &str, builder: &str, build: &str| {
        let argument = argument(folder);
        let message =
            format!("{builder} makes the manifests of this folder: run `{build} {argument} | {command}`");
        Err(Error::whole(&name_of(&folder.join(file)), message))
    };
    if let Some(file) = KUSTOMIZATIONS.into_iter().find(|file| has(file)) {
        return refused(file, "kustomize", "kubectl kustomize");
    }
    if has(CHART) {
        return refused(CHART, "Helm", "helm template");
    }
    Ok(())
}

/// A folder as an argument of a command for the shell.
fn argument(folder: &Path) -> String {
    let text = folder.display().to_string();
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | ':' | '@');
    if text.is_empty() {
        ".".to_owned()
    } else if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
