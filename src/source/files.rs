//! Reads files, folders and standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::error::Error;
use super::node::{Location, Node};
use super::parse::{is_empty, parse_as};
use super::syntax::{Dialect, SyntaxError};

/// The path that means standard input.
pub const STDIN: &str = "-";

/// Hint for an input that looks like a template.
const TEMPLATE: &str = "; if this is a template, render it first: `helm template CHART | netproof expect -`";

/// The text of one input.
#[derive(Debug, Clone)]
pub struct Text {
    /// Name for messages: the path that the user wrote, or the path that was found in a folder.
    pub name: Arc<str>,
    /// The text.
    pub content: String,
}

/// A document of an input.
#[derive(Debug, Clone)]
pub struct Document {
    /// Name of the input.
    pub name: Arc<str>,
    /// The document.
    pub node: Node,
}

/// Reads all paths in order. A path is a file, standard input (`-`), or a folder. In and below a folder, it reads
/// every `.yaml`, `.yml` and `.json` file, sorted by path. Two things in a folder are left out: files that contain
/// only empty documents, and subfolders whose names begin with a dot.
///
/// # Errors
/// If a path cannot be read, a text is not UTF-8, or a folder has no such file or only empty ones.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Text>, Error> {
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == STDIN {
            let name = Arc::from("standard input");
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| Error::whole(&name, error.to_string()).because(error))?;
            texts.push(Text { content: utf8(&name, bytes)?, name });
        } else if path.is_dir() {
            texts.extend(read_folder(path)?);
        } else {
            texts.push(read_file(path)?);
        }
    }
    Ok(texts)
}

fn read_folder(folder: &Path) -> Result<Vec<Text>, Error> {
    let mut files = Vec::new();
    let is_manifest =
        |path: &Path| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    find_below(folder, &is_manifest, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Error::whole(&name_of(folder), "no .yaml, .yml or .json file in this folder"));
    }
    let mut texts = files.iter().map(|file| read_file(file)).collect::<Result<Vec<_>, _>>()?;
    texts.retain(|text| !is_empty(&text.content));
    if texts.is_empty() {
        return Err(Error::whole(
            &name_of(folder),
            "nothing in the files of this folder: expected at least one YAML document",
        ));
    }
    Ok(texts)
}

/// Adds every file in and below a folder that `is_wanted` accepts to `files`. Skips folders whose names begin with a
/// dot.
pub(super) fn find_below(
    folder: &Path,
    is_wanted: &impl Fn(&Path) -> bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let failed = |error| unreadable(&name_of(folder), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Does not follow symbolic links to folders, because they could form a loop.
        if entry.file_type().map_err(failed)?.is_dir() {
            // Skips the folders of tools, such as `.git`. Files may begin with a dot: `kubectl` reads them, too.
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                find_below(&path, is_wanted, files)?;
            }
        } else if is_wanted(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads one file.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub fn read_file(path: &Path) -> Result<Text, Error> {
    let name = name_of(path);
    let bytes = fs::read(path).map_err(|error| unreadable(&name, error))?;
    Ok(Text { content: utf8(&name, bytes)?, name })
}

impl Text {
    /// Parses the text as netproof's own formats. Returns at least one document.
    ///
    /// # Errors
    /// If the text is not YAML, or empty.
    pub fn documents(&self) -> Result<Vec<Document>, Error> {
        self.parse(Dialect::Own)
    }

    /// Parses the text as manifests, as `kubectl` reads them. Returns at least one document.
    ///
    /// # Errors
    /// If the text is not YAML, or empty.
    pub fn manifests(&self) -> Result<Vec<Document>, Error> {
        self.parse(Dialect::Kubectl)
    }

    fn parse(&self, dialect: Dialect) -> Result<Vec<Document>, Error> {
        let nodes = parse_as(&self.content, dialect).map_err(|SyntaxError { at, problem }| {
            let hint = if self.is_template(at) { TEMPLATE } else { "" };
            Error::at(&self.name, at, format!("{problem}{hint}")).because(problem)
        })?;
        if nodes.is_empty() {
            return Err(Error::whole(&self.name, "nothing in it: expected at least one YAML document"));
        }
        Ok(nodes.into_iter().map(|node| Document { name: Arc::clone(&self.name), node }).collect())
    }

    /// Returns whether the line of an error is part of a template, such as Helm's.
    fn is_template(&self, at: Location) -> bool {
        let before = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_sub(1);
        self.content.lines().nth(before).is_some_and(|line| line.contains("{{"))
    }
}

fn utf8(name: &Arc<str>, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        Error::at(name, Location::START.after(&before), "not UTF-8 text").because(error)
    })
}

pub(super) fn name_of(path: &Path) -> Arc<str> {
    Arc::from(path.display().to_string())
}

/// Returns the error for a file or folder. The two most frequent reasons are written without their error numbers.
fn unreadable(name: &Arc<str>, error: io::Error) -> Error {
    let reason = if error.kind() == io::ErrorKind::NotFound {
        "no such file or folder".to_owned()
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "permission denied".to_owned()
    } else {
        error.to_string()
    };
    Error::whole(name, format!("cannot be read: {reason}")).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_no_text_is_found_at_its_place() {
        let error = utf8(&Arc::from("a.yaml"), b"a: 1\nb: \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "a.yaml:2:4: not UTF-8 text");
    }

    /// Regression: the message said that the text in Helm's braces must be quoted.
    #[test]
    fn a_template_is_to_be_rendered() {
        let message = |content: &str| {
            let text = Text { name: Arc::from("a.yaml"), content: content.to_owned() };
            text.manifests().unwrap_err().to_string()
        };
        for content in ["a: 1\nname: {{ .Release.Name }}\n", "{{- if .Values.on }}\na: 1\n{{- end }}\n"] {
            assert!(message(content).ends_with(TEMPLATE), "{}", message(content));
        }
        assert!(!message("a: 'b\n").contains(TEMPLATE));
    }

    #[test]
    fn an_empty_text_has_no_documents() {
        let text = Text { name: Arc::from("a.yaml"), content: "# nothing\n".to_owned() };
        let error = text.documents().unwrap_err();
        assert_eq!(error.to_string(), "a.yaml: nothing in it: expected at least one YAML document");
    }
}
