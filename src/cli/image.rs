//! `netproof image`

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::output;
use crate::image::{self, Binary, DEFAULT_IMAGE, Destination, ImageName};

/// Build the image of the agent, and load it into nodes
///
/// Most clusters need no image: a run brings the agent itself. Use this image with netproof run --image if the
/// cluster forbids ConfigMaps of this size, or programs in volumes.
///
/// The image contains one file, the agent. netproof builds it without Docker and without a registry.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImageArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Save(SaveArgs),
    Load(LoadArgs),
}

/// Write the image to a file
///
/// The file is an archive in the format of docker save. docker load, kind load image-archive and ctr images
/// import read it. The same agent always produces the same bytes.
#[derive(Debug, Args)]
#[command(after_help = SAVE_EXAMPLES)]
struct SaveArgs {
    /// The file to write, or - for standard output
    file: PathBuf,

    #[command(flatten)]
    options: ImageOptions,
}

/// Load the image into the nodes of a cluster
#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
struct LoadArgs {
    #[command(flatten)]
    destination: DestinationArgs,

    #[command(flatten)]
    options: ImageOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct DestinationArgs {
    /// The kind cluster to load the image into, with the program kind
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    kind: Option<String>,

    /// The socket of a node's containerd, with the program ctr. May be repeated
    #[arg(long, value_name = "SOCKET", value_parser = NonEmptyStringValueParser::new())]
    containerd: Vec<String>,
}

/// The content of the image, and its name.
#[derive(Debug, Args)]
struct ImageOptions {
    /// The agent, a static program [default: the one in this program, or netproof-probe beside it]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,

    /// The name of the image. Without a tag, this program's version is added
    #[arg(long, value_name = "NAME", default_value = DEFAULT_IMAGE)]
    image: ImageName,
}

const EXAMPLES: &str = "\
Examples:
  netproof image save probe.tar          an archive, to load it where it is needed
  netproof image load --kind test        into all nodes of the kind cluster test";

const SAVE_EXAMPLES: &str = "\
Examples:
  netproof image save probe.tar
  netproof image save - | ssh node ctr -n k8s.io images import -
  netproof image save probe.tar --agent \"$(probe-image/build.sh)\"";

const LOAD_EXAMPLES: &str = "\
Examples:
  netproof image load --kind test
  sudo netproof image load --containerd /run/containerd/containerd.sock
  netproof image load --kind test --image registry.example/team/netproof-probe:1";

pub(super) fn image(args: &ImageArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Save(args) => save(args),
        Action::Load(args) => load(args),
    }
}

fn save(args: &SaveArgs) -> anyhow::Result<ExitCode> {
    let to_stdout = args.file == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        anyhow::bail!("an image is nothing for a terminal: name a file, or send standard output somewhere");
    }
    let image = args.options.make()?;
    if to_stdout {
        // `output::result` is only for text.
        let mut stdout = io::stdout().lock();
        stdout.write_all(&image.archive)?;
        stdout.flush()?;
    } else {
        fs::write(&args.file, &image.archive)
            .with_context(|| format!("could not write {}", args.file.display()))?;
        output::note(&format!("saved {} to {}", image.title, args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn load(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let destinations = args.destination.all()?;
    let image = args.options.make()?;
    for destination in destinations {
        destination.load(&image.archive).with_context(|| format!("could not load {}", image.title))?;
        output::note(&format!("loaded {} into {destination}", image.title));
    }
    Ok(ExitCode::SUCCESS)
}

impl DestinationArgs {
    /// Returns the destinations. Checks all of them before the first one is changed.
    fn all(&self) -> Result<Vec<Destination>, image::Error> {
        let kind = self.kind.iter().map(|cluster| Ok(Destination::Kind { cluster: cluster.clone() }));
        let containerd = self.containerd.iter().map(|address| Destination::containerd(address));
        kind.chain(containerd).collect()
    }
}

/// A complete image.
struct Image {
    archive: Vec<u8>,
    /// Its name in messages.
    title: String,
}

impl ImageOptions {
    fn make(&self) -> Result<Image, image::Error> {
        let agent = match &self.agent {
            Some(path) => Binary::read(path)?,
            None => image::own()?,
        };
        let archive = image::archive(&agent, &self.image)?;
        Ok(Image { archive, title: format!("{} ({})", self.image, agent.architecture()) })
    }
}
