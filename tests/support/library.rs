//! The scenario library.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::{copy_folder, folder};

/// Small scenarios for tests that look at every verdict. Together they decide most spec rules.
pub(crate) const BASICS: [&str; 27] = [
    "aks-managed-namespaces",
    "default-deny",
    "dns-label-mismatch",
    "dual-stack",
    "host-network",
    "ip-block",
    "ip-block-pods",
    "named-ports",
    "named-ports-of-host-network",
    "namespace-selector-empty",
    "namespaces-only",
    "pods-come-and-go",
    "pods-that-end",
    "policy-lifecycle",
    "policy-types",
    "port-items",
    "port-range",
    "relabelling",
    "same-namespace-and-dns",
    "security-zones",
    "selectors",
    "shared-ingress",
    "target-ports",
    "team-segmentation",
    "tenant-baseline",
    "two-customers",
    "union",
];

/// Returns the path of a file or folder of the scenario library, in a copy that every user can read.
pub(crate) fn library(path: &str) -> String {
    static COPY: OnceLock<()> = OnceLock::new();
    COPY.get_or_init(|| {
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"), &folder().join("scenarios"));
    });
    format!("scenarios/{path}")
}

/// Returns the path of a scenario of the library. The file has the name of the scenario, and the folder does not matter.
pub(crate) fn scenario_file(name: &str) -> String {
    let folders = fs::read_dir(folder().join(library(""))).unwrap();
    let mut files =
        folders.map(|entry| library(&format!("{}/{name}.yaml", entry.unwrap().file_name().display())));
    let file = files.find(|file| folder().join(file).is_file());
    file.unwrap_or_else(|| unreachable!("the library has no scenario {name}"))
}
