//! The scenario library that is built into the program.

use include_dir::{Dir, include_dir};

use crate::source::Text;

static LIBRARY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// All files of the library, in the order of their names.
pub(super) fn texts() -> Vec<Text> {
    let mut texts = Vec::new();
    collect(&LIBRARY, &mut texts);
    texts.sort_by(|a, b| a.name.cmp(&b.name));
    texts
}

fn collect(folder: &Dir<'_>, texts: &mut Vec<Text>) {
    for file in folder.files() {
        let is_yaml = file.path().extension().is_some_and(|extension| extension == "yaml");
        if let (true, Some(content)) = (is_yaml, file.contents_utf8()) {
            let name = format!("scenarios/{}", file.path().display());
            texts.push(Text { name: name.into(), content: content.to_owned() });
        }
    }
    for folder in folder.dirs() {
        collect(folder, texts);
    }
}
