//! The map in `src/lib.rs` is true: modules import only what it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Returns what each module may import, from the table. `None` is everything.
fn map() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(format!("{SOURCE}/lib.rs")).unwrap();
    let mut map = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let (module, rest) = line.split_once('`').unwrap();
        let allowed = rest.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim();
        let allowed = match allowed {
            "everything" => None,
            "–" => Some(BTreeSet::new()),
            list => Some(list.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()),
        };
        map.insert(module.to_owned(), allowed);
    }
    map
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// Returns the modules that a file imports outside of its tests and comments.
fn imports(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            // The first part of each path in a list is a module.
            Some(list) => {
                let list = list.split("};").next().unwrap();
                let mut depth = 0;
                for name in list.split(',') {
                    if depth == 0 {
                        found.insert(name.trim().split("::").next().unwrap().to_owned());
                    }
                    depth += name.matches('{').count() as i32 - name.matches('}').count() as i32;
                }
            }
            None => {
                found.insert(after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let map = map();
    let library = fs::read_to_string(format!("{SOURCE}/lib.rs")).unwrap();
    let declared: BTreeSet<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("pub(crate) mod ")))
        .collect();
    let declared: BTreeSet<_> = declared.iter().map(|name| name.trim_end_matches(';').to_owned()).collect();
    assert_eq!(map.keys().cloned().collect::<BTreeSet<_>>(), declared, "the map names every module once");

    let mut seen = 0;
    for (module, allowed) in &map {
        let Some(allowed) = allowed else { continue };
        for file in files(&Path::new(SOURCE).join(module)) {
            for import in imports(&file) {
                seen += 1;
                assert!(
                    import == *module || allowed.contains(&import) || !declared.contains(&import),
                    "{} imports `{import}`, which the map in src/lib.rs does not allow",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found: does the test still read them?");
}

/// `policy` is pure: no input or output, no clock, no async runtime, no Kubernetes.
#[test]
fn the_policy_engine_does_no_io() {
    for file in files(&Path::new(SOURCE).join("policy")) {
        let text = fs::read_to_string(&file).unwrap();
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for forbidden in
            ["std::fs", "std::io", "std::env", "std::time", "std::thread", "tokio", "k8s_openapi", "tracing"]
        {
            assert!(!code.contains(forbidden), "{} uses {forbidden}", file.display());
        }
    }
}
