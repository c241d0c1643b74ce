//! The options that select scenarios.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::{library, value};
use crate::scenario::{self, Scenario, SpecRule};
use crate::select::{Nothing, Selection, Shard, choose_names};
use crate::source::{self, STDIN};

/// The selection of scenarios.
#[derive(Debug, Args)]
pub(super) struct SelectOptions {
    /// Scenario files, folders of them, - for standard input, or names in the built-in library, in which
    /// * stands for any text [default: the whole library]
    scenarios: Vec<PathBuf>,

    /// List the selected scenarios, with the counts of cases by tag and by spec rule. Sends no packets
    #[arg(long, help_heading = SELECTION)]
    pub(super) list: bool,

    /// Only scenarios with this tag. If repeated, scenarios with any of the tags
    #[arg(long, value_name = "TAG", help_heading = SELECTION, value_parser = NonEmptyStringValueParser::new())]
    tag: Vec<String>,

    /// No scenarios with this tag
    #[arg(long, value_name = "TAG", help_heading = SELECTION, value_parser = NonEmptyStringValueParser::new())]
    skip_tag: Vec<String>,

    /// Only scenarios with a case that decides this spec rule, a numbered rule of docs/semantics.md
    #[arg(long, alias = "item", value_name = "NUMBER", help_heading = SELECTION, value_parser = value::spec_rule)]
    spec_rule: Vec<SpecRule>,

    /// Only scenarios with this name, in which * stands for any text
    #[arg(long, value_name = "PATTERN", help_heading = SELECTION, value_parser = NonEmptyStringValueParser::new())]
    name: Vec<String>,

    /// No scenarios with this name, in which * stands for any text
    #[arg(long, value_name = "PATTERN", help_heading = SELECTION, value_parser = NonEmptyStringValueParser::new())]
    skip_name: Vec<String>,

    /// Only this part of the selected scenarios, such as 2/4. All parts take about the same time
    #[arg(long, value_name = "PART/ALL", help_heading = SELECTION)]
    shard: Option<Shard>,
}

const SELECTION: &str = "Selection";

impl SelectOptions {
    /// Returns whether only a part of the selected scenarios is run.
    pub(super) fn is_shard(&self) -> bool {
        self.shard.is_some()
    }

    /// Reads the scenarios, checks them, and selects at least one.
    pub(super) fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let selection = Selection {
            tags: self.tag.clone(),
            skipped_tags: self.skip_tag.clone(),
            spec_rules: self.spec_rule.clone(),
            names: self.name.clone(),
            skipped_names: self.skip_name.clone(),
            shard: self.shard,
        };
        Ok(selection.select(read(&self.scenarios)?)?)
    }
}

/// Returns the scenarios of files, and the named ones of the library. Without arguments, returns the whole library. Checks
/// that every scenario asserts what it claims to decide.
pub(super) fn read(arguments: &[PathBuf]) -> anyhow::Result<Vec<Scenario>> {
    let scenarios = load(arguments)?;
    scenarios.iter().try_for_each(scenario::check_coverage)?;
    Ok(scenarios)
}

fn load(arguments: &[PathBuf]) -> anyhow::Result<Vec<Scenario>> {
    let (files, names): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(|argument| is_file(argument));
    if files.is_empty() && names.is_empty() {
        return Ok(scenario::load(&library::texts())?);
    }
    let mut scenarios = scenario::load(&source::read(&files)?)?;
    if names.is_empty() {
        return Ok(scenarios);
    }
    let library = scenario::load(&library::texts())?;
    for name in &names {
        let name = name.to_string_lossy();
        for chosen in choose_names(&name, &name, &library).map_err(in_library)? {
            match scenarios.iter().find(|other| other.name == chosen.name) {
                // Two patterns may both match it.
                Some(other) if other.file == chosen.file => {}
                Some(other) => anyhow::bail!(
                    "{}: the scenario `{}` is there twice: first in {}",
                    chosen.file,
                    chosen.name,
                    other.file
                ),
                None => scenarios.push(chosen.clone()),
            }
        }
    }
    Ok(scenarios)
}

/// Returns whether an argument means a file: the file exists, or no scenario of the library can have such a name.
fn is_file(argument: &Path) -> bool {
    let Some(text) = argument.to_str() else { return true };
    let looks_like_one = [".yaml", ".yml", ".json"].iter().any(|end| text.ends_with(end));
    text == STDIN || text.contains('/') || looks_like_one || argument.exists()
}

fn in_library(nothing: Nothing) -> anyhow::Error {
    match nothing {
        Nothing::Name { place, near } => {
            let hint = match near.as_slice() {
                [] => "netproof run --list shows all".to_owned(),
                near => format!("near: {}", near.join(", ")),
            };
            anyhow::anyhow!("{place}: neither a file nor a scenario of the built-in library; {hint}")
        }
        Nothing::Conditions(_) => nothing.into(),
    }
}
