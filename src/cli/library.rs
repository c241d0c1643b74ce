//! The files in the program: the scenario library, and profiles of network plugins.

use include_dir::{Dir, include_dir};

use crate::source::Text;

static LIBRARY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");
static PROFILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles");

/// Returns all files of the library, sorted by name.
pub(super) fn texts() -> Vec<Text> {
    sorted("scenarios", &LIBRARY)
}

/// Returns whether the library has a file of this name.
pub(super) fn has(name: &str) -> bool {
    name.strip_prefix("scenarios/").is_some_and(|path| LIBRARY.get_file(path).is_some())
}

/// Returns all profiles, sorted by name.
pub(super) fn profiles() -> Vec<Text> {
    sorted("profiles", &PROFILES)
}

fn sorted(root: &str, folder: &Dir<'_>) -> Vec<Text> {
    let mut texts = Vec::new();
    collect(root, folder, &mut texts);
    texts.sort_by(|a, b| a.name.cmp(&b.name));
    texts
}

fn collect(root: &str, folder: &Dir<'_>, texts: &mut Vec<Text>) {
    for file in folder.files() {
        let is_yaml = file.path().extension().is_some_and(|extension| extension == "yaml");
        if let (true, Some(content)) = (is_yaml, file.contents_utf8()) {
            let name = format!("{root}/{}", file.path().display());
            texts.push(Text { name: name.into(), content: content.to_owned() });
        }
    }
    for folder in folder.dirs() {
        collect(root, folder, texts);
    }
}
