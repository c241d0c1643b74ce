//! Refuses folders whose manifests must first be built by kustomize or Helm.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::files::{STDIN, find_below, name_of};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
const CHART: &str = "Chart.yaml";

/// Refuses the sources of kustomize and Helm: without a build, they mean something else. `command` is the netproof
/// command that reads the built manifests from standard input.
///
/// # Errors
/// If a path is a kustomization folder or a chart, has one in it, or is the file that describes it.
pub fn refuse_unbuilt(paths: &[PathBuf], command: &str) -> Result<(), Error> {
    for path in paths.iter().filter(|path| path.as_os_str() != STDIN) {
        if path.is_dir() {
            let mut found = Vec::new();
            find_below(path, &is_description, &mut found)?;
            // The outermost folder comes first: its build includes those below it.
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

/// Returns whether a file describes how a folder is built.
fn is_description(path: &Path) -> bool {
    path.file_name().is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known) || name == CHART)
}

/// Returns the chart that a folder belongs to: a chart keeps its manifests in `templates`.
fn chart_of(folder: &Path) -> Option<PathBuf> {
    let is_templates = |folder: &&Path| folder.file_name().is_some_and(|name| name == "templates");
    // First the path as the user wrote it, because messages show it.
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

/// Returns a folder as an argument for a shell command.
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
