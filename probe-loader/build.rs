//! Tells the linker that the program needs neither a C library nor its start files, and the build of netproof where
//! the sources of this crate are.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::metadata=sources={}", env!("CARGO_MANIFEST_DIR"));
    // `noseparate-code`: no pages of zeros between the parts of the file.
    for argument in
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,-z,noseparate-code,--build-id=none"]
    {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
