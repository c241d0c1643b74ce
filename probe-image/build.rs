//! Tells the build of netproof where the sources of this crate are, so that it can build the agent.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=sources={}", env!("CARGO_MANIFEST_DIR"));
}
