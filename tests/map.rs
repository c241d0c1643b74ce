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

/// Returns the path of a file's module from the root of the crate, with `/` between its parts.
fn module_path(file: &Path) -> String {
    let path = file.strip_prefix(SOURCE).unwrap().with_extension("");
    path.to_str().unwrap().trim_end_matches("/mod").to_owned()
}

/// Returns the code of a file, without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join(" ")
}

/// Adds the paths of a tree like `a::{b, c::D}`, each after the path `before`. Returns the code after it.
fn read_paths<'a>(tree: &'a str, before: &[&'a str], paths: &mut Vec<Vec<&'a str>>) -> &'a str {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if let Some(mut list) = tree.strip_prefix('{') {
        loop {
            list = list.trim_start_matches(|c| !is_name(c) && c != '}');
            match list.strip_prefix('}') {
                Some(rest) => return rest,
                None => list = read_paths(list, before, paths),
            }
        }
    }
    let (name, rest) = tree.split_at(tree.find(|c| !is_name(c)).unwrap_or(tree.len()));
    let path = [before, &[name]].concat();
    if let Some(deeper) = rest.strip_prefix("::") {
        return read_paths(deeper, &path, paths);
    }
    paths.push(path);
    rest
}

/// Returns the paths that code of a module uses in its crate, from the root of the crate.
fn paths<'a>(code: &'a str, module: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut paths = Vec::new();
    for tree in code.split("crate::").skip(1) {
        read_paths(tree, &[], &mut paths);
    }
    let mut parent = module;
    for tree in code.split("super::").skip(1) {
        parent = &parent[..parent.len() - 1];
        // If nothing follows, another `super::` does.
        if !tree.is_empty() {
            read_paths(tree, parent, &mut paths);
            parent = module;
        }
    }
    paths
}

/// Returns the modules that a file imports outside of its tests and comments.
fn imports(file: &Path) -> BTreeSet<String> {
    let (module, code) = (module_path(file), code(file));
    let module: Vec<&str> = module.split('/').collect();
    paths(&code, &module).into_iter().map(|path| path[0].to_owned()).collect()
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

/// The rest of netproof runs on other systems, too.
#[test]
fn only_the_lab_uses_what_only_linux_has() {
    for file in files(Path::new(SOURCE)).iter().filter(|file| !module_path(file).starts_with("backend/lab")) {
        let code = code(file).replace("unix::", "");
        for linux in ["nix::", "rtnetlink::", "os::linux", "\"/proc"] {
            assert!(!code.contains(linux), "{} uses {linux}: move this to src/backend/lab", file.display());
        }
    }
}

/// Only `mod.rs` may import files that import it.
#[test]
fn the_files_of_a_module_do_not_import_each_other_in_circles() {
    let files = files(Path::new(SOURCE)).into_iter().filter(|file| !file.ends_with("mod.rs"));
    let code: BTreeMap<String, String> = files.map(|file| (module_path(&file), code(&file))).collect();
    let mut imports = BTreeMap::new();
    for (file, text) in &code {
        let module: Vec<&str> = file.split('/').collect();
        let file_of = |path: Vec<&str>| {
            let mut prefixes = (1..=path.len()).rev().map(|len| path[..len].join("/"));
            prefixes.find_map(|prefix| Some(code.get_key_value(&prefix)?.0))
        };
        let imported: BTreeSet<&String> = paths(text, &module).into_iter().filter_map(file_of).collect();
        imports.insert(file, imported);
    }
    let count: usize = imports.values().map(BTreeSet::len).sum();
    assert!(count > 500, "only {count} imports were found: does the test still read them?");

    // A file that imports no remaining file is in no circle.
    while let Some(file) = imports.iter().find_map(|(file, of)| of.is_empty().then_some(*file)) {
        imports.remove(file);
        for of in imports.values_mut() {
            of.remove(file);
        }
    }
    let Some(mut file) = imports.keys().next().copied() else { return };
    let mut walk = Vec::new();
    while !walk.contains(&file) {
        walk.push(file);
        file = imports[file].first().unwrap();
    }
    let circle: Vec<_> = walk.into_iter().skip_while(|other| *other != file).collect();
    panic!("these files import each other in a circle: {circle:?}");
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
