//! Folders whose manifests have to be built first: by kustomize or by Helm.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::files::{STDIN, find_below, name_of};

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
            let mut found = Vec::new();
            find_below(path, &is_description, &mut found)?;
            // The outermost builds those below it, too.
            found.sort_by_cached_key(|file| (file.components().count(), file.clone()));
            for file in found {
                refuse_folder(file.parent().unwrap_or(Path::new("")), command)?;
            }
            if let Some(chart) = chart_of(path) {
                refuse_folder(&chart, command)?;
            }
        } else if is_description(path) {
            refuse_folder(path.parent().unwrap_or(Path::new("")), command)?;
        }
    }
    Ok(())
}

/// Whether a file says how a folder is built.
fn is_description(path: &Path) -> bool {
    path.file_name().is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known) || name == CHART)
}

/// The chart of which a folder is a part: the manifests of one are in its `templates`.
fn chart_of(folder: &Path) -> Option<PathBuf> {
    let is_templates = |folder: &&Path| folder.file_name().is_some_and(|name| name == "templates");
    // As it was written first: messages name it so.
    [Some(folder.to_path_buf()), folder.canonicalize().ok()].into_iter().flatten().find_map(|folder| {
        let chart = folder.ancestors().find(is_templates)?.parent()?;
        chart.join(CHART).is_file().then(|| chart.to_path_buf())
    })
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
