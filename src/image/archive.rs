//! Builds the archive of the image, as `docker save` writes it, because all container tools read this format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::agent::{Binary, FILE_NAME};
use super::error::Error;
use super::name::ImageName;

/// The user that runs the agent. It exists on no node and is not root, as the `restricted` Pod Security Standard
/// demands. It is a number, because the image has no `/etc/passwd`.
const USER: &str = "65532:65532";

const ENTRYPOINT: &str = "/netproof-probe";
const TITLE: &str = "netproof-probe";
const LAYER: &str = "layer.tar";

/// Time of creation. It is fixed, because the image must not depend on the machine and the hour of its build.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// `manifest.json`: a list with one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest<'a> {
    config: &'a str,
    repo_tags: [&'a str; 1],
    layers: [&'a str; 1],
}

/// The configuration, whose digest identifies the image: `application/vnd.oci.image.config.v1+json`.
#[derive(Debug, Serialize)]
struct Config<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: Execution<'a>,
    rootfs: RootFs<'a>,
    history: [History<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    user: &'a str,
    entrypoint: [&'a str; 1],
    labels: BTreeMap<&'a str, &'a str>,
}

#[derive(Debug, Serialize)]
struct RootFs<'a> {
    r#type: &'a str,
    diff_ids: [String; 1],
}

#[derive(Debug, Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

/// Returns the archive of an image that contains only the agent. The same agent and name always produce the same
/// bytes.
///
/// # Errors
/// If the agent does not fit into a tar archive.
pub fn archive(agent: &Binary, name: &ImageName) -> Result<Vec<u8>, Error> {
    build(agent, name).map_err(Error::Archive)
}

fn build(agent: &Binary, name: &ImageName) -> io::Result<Vec<u8>> {
    let layer = tar([(FILE_NAME, 0o755, agent.content())])?;
    let config = serde_json::to_vec(&config(agent, &layer))?;
    let config_name = format!("{}.json", digest(&config));
    let manifest = Manifest { config: &config_name, repo_tags: [name.as_str()], layers: [LAYER] };
    let manifest = serde_json::to_vec(&[manifest])?;
    tar([(&config_name, 0o644, &config), (LAYER, 0o644, &layer), ("manifest.json", 0o644, &manifest)])
}

fn config<'a>(agent: &Binary, layer: &[u8]) -> Config<'a> {
    let labels = [
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
        ("org.opencontainers.image.title", TITLE),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
    ];
    Config {
        created: CREATED,
        architecture: agent.architecture(),
        os: "linux",
        config: Execution { user: USER, entrypoint: [ENTRYPOINT], labels: labels.into() },
        rootfs: RootFs { r#type: "layers", diff_ids: [format!("sha256:{}", digest(layer))] },
        history: [History { created: CREATED, created_by: "netproof image" }],
    }
}

/// Returns a tar archive of files with their names, modes and contents. They belong to root and have the time 0.
fn tar<const N: usize>(files: [(&str, u32, &[u8]); N]) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content)?;
    }
    builder.into_inner()
}

/// Returns the SHA-256 of a content in hexadecimal.
fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::{Value, json};

    use super::super::agent::tests::static_program;
    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        files
    }

    fn image() -> (Binary, Vec<u8>) {
        let agent = Binary::new(static_program()).unwrap();
        let archive = archive(&agent, &"probe:1".parse().unwrap()).unwrap();
        (agent, archive)
    }

    #[test]
    fn the_same_agent_gives_the_same_bytes() {
        let (_, archive) = image();
        assert_eq!(archive, image().1);
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            assert_eq!(entry.unwrap().header().mtime().unwrap(), 0, "the hour is not in it");
        }
    }

    #[test]
    fn a_digest_is_that_of_sha_256() {
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn digests_match_contents() {
        let (_, archive) = image();
        let files = files(&archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(
            manifest,
            json!([{"Config": config_name, "RepoTags": ["probe:1"], "Layers": ["layer.tar"]}])
        );
        assert_eq!(config_name, format!("{}.json", digest(&files[config_name])));
        let config: Value = serde_json::from_slice(&files[config_name]).unwrap();
        let layer = format!("sha256:{}", digest(&files["layer.tar"]));
        assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": [layer]}));
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn the_layer_holds_the_agent_and_nothing_else() {
        let (agent, archive) = image();
        let layer = &files(&archive)["layer.tar"];
        let mut entries = tar::Archive::new(layer.as_slice());
        let mut entries = entries.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        let header = entry.header();
        let numbers = [header.uid(), header.gid(), header.mtime()].map(Result::unwrap);
        assert_eq!((header.mode().unwrap(), numbers), (0o755, [0, 0, 0]));
        assert_eq!(format!("/{}", entry.path().unwrap().display()), ENTRYPOINT);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(content, agent.content());
        assert!(entries.next().is_none());
    }

    /// An image that is built with the Dockerfile must run in the same way.
    #[test]
    fn the_dockerfile_says_the_same() {
        let dockerfile = include_str!("../../probe-image/Dockerfile");
        let config = config(&image().0, b"");
        let (_, last_stage) = dockerfile.rsplit_once("\nFROM scratch\n").unwrap();
        let has = |line: &str| assert!(last_stage.lines().any(|other| other.trim() == line), "{line}");
        has(&format!("USER {}", config.config.user));
        has(&format!("ENTRYPOINT [\"{}\"]", config.config.entrypoint[0]));
        for (label, value) in config.config.labels {
            has(&format!("LABEL {label}=\"{value}\""));
        }
    }
}
