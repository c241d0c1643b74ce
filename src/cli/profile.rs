//! The option that names profiles.

use std::path::Path;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::library;
use crate::backend::cluster::shell_word;
use crate::profile::{self, Profile};
use crate::source::{self, near};

/// The profiles of the network plugin.
#[derive(Debug, Args)]
pub(super) struct ProfileOptions {
    /// Make cells undefined for which the network plugin has a known deviation. A name of --list-profiles, or a
    /// file. May be repeated
    #[arg(long, value_name = "NAME|FILE", value_parser = NonEmptyStringValueParser::new())]
    profile: Vec<String>,
}

/// Returns the built-in profiles.
pub(super) fn built_in() -> anyhow::Result<Vec<Profile>> {
    Ok(profile::load(&library::profiles())?)
}

impl ProfileOptions {
    /// Returns the options as the user wrote them, each after a space.
    pub(super) fn as_given(&self) -> String {
        self.profile.iter().map(|name| format!(" --profile {}", shell_word(name))).collect()
    }

    /// Reads the profiles.
    pub(super) fn profiles(&self) -> anyhow::Result<Vec<Profile>> {
        let mut profiles: Vec<Profile> = Vec::new();
        for name in &self.profile {
            for profile in one(name)? {
                if profiles.iter().any(|other| other.name == profile.name) {
                    anyhow::bail!("--profile {name}: the profile `{}` is there twice", profile.name);
                }
                profiles.push(profile);
            }
        }
        Ok(profiles)
    }
}

/// Returns the built-in profile with this name, or the profiles of a file.
fn one(name: &str) -> anyhow::Result<Vec<Profile>> {
    let (found, others): (Vec<_>, Vec<_>) = built_in()?.into_iter().partition(|profile| profile.name == name);
    if !found.is_empty() {
        return Ok(found);
    }
    let path = Path::new(name);
    if path.exists() || name.contains(['/', '.']) {
        return Ok(profile::load(&[source::read_file(path)?])?);
    }
    let names = || others.iter().map(|profile| profile.name.as_str());
    let near = near(name, names());
    let known = if near.is_empty() { names().collect() } else { near };
    anyhow::bail!("--profile {name}: neither a built-in profile nor a file; there is {}", known.join(", "))
}
