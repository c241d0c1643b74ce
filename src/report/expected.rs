//! The expected matrix, as a table and as JSON. Both are written row by row, because a large cluster has
//! millions of rows.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;

use super::escape::{Plain, escape_json};
use super::view;
use crate::document::{ApiVersion, Assumption, ExpectationDocument, ExpectationKind, ExpectedTraffic};

/// Writes a matrix as a table.
///
/// # Errors
/// If it cannot be written.
pub fn expected_table(document: &mut ExpectationDocument<'_>, mut to: impl Write) -> io::Result<()> {
    let width = document.widest_name().max(4);
    writeln!(to, "{:width$}  {:width$}  CONNECTIONS", "FROM", "TO")?;
    let mut legend = Vec::new();
    document.pairs(
        |traffic| Ok(traffic_text(traffic, &mut legend)),
        |from, destination, traffic| {
            writeln!(to, "{:width$}  {:width$}  {traffic}", Plain(from), Plain(destination))
        },
    )?;
    for (i, Assumption { text, how_to_add }) in legend.iter().enumerate() {
        let heading = if i == 0 { "\nundefined because\n" } else { "" };
        writeln!(to, "{heading}  [{}]  {}{how_to_add}", i + 1, Plain(text))?;
    }
    for (i, kind) in document.unmodelled.iter().enumerate() {
        writeln!(to, "{}{}", if i == 0 { "\n" } else { "" }, Plain(view::unmodelled(kind)))?;
    }
    to.flush()
}

/// Returns the traffic of a pair as a text, with a mark for each assumption. The legend explains the marks.
fn traffic_text(traffic: &ExpectedTraffic, legend: &mut Vec<Assumption>) -> String {
    let mut texts: Vec<_> = traffic.allowed_text.iter().cloned().collect();
    if let Some(undefined) = &traffic.undefined_text {
        let mut text = format!("undefined: {undefined}");
        for assumption in traffic.assumptions.iter().flatten() {
            let index = legend.iter().position(|other| other == assumption).unwrap_or_else(|| {
                legend.push(assumption.clone());
                legend.len() - 1
            });
            text.push_str(&format!(" [{}]", index + 1));
        }
        texts.push(text);
    }
    texts.join("; ")
}

/// Writes a matrix as JSON.
///
/// # Errors
/// If it cannot be written.
pub fn expected_json(document: &mut ExpectationDocument<'_>, mut to: impl Write) -> io::Result<()> {
    let (version, kind) = (ApiVersion::V1Alpha1, ExpectationKind::ExpectedMatrix);
    writeln!(to, r#"{{"apiVersion":"{}","kind":"{}","#, version.name(), kind.name())?;
    writeln!(to, r#""warnings":{},"#, escaped(json!(document.warnings)))?;
    writeln!(to, r#""unmodelled":{},"#, escaped(json!(document.unmodelled)))?;
    writeln!(to, r#""unshown":{},"#, escaped(json!(document.unshown)))?;
    write!(to, r#""pairs":"#)?;
    // Each name is converted to JSON once.
    let mut names: HashMap<String, String> = HashMap::new();
    let mut separator = "[\n";
    document.pairs::<io::Error>(
        // The fields follow those of the pair.
        |traffic| Ok(escaped(serde_json::to_string(traffic)?.trim_start_matches('{'))),
        |from, destination, traffic| {
            for name in [from, destination] {
                if !names.contains_key(name) {
                    names.insert(name.to_owned(), escaped(json!(name)));
                }
            }
            let [from, destination] =
                [from, destination].map(|name| names.get(name).map(String::as_str).unwrap_or_default());
            write!(to, r#"{separator} {{"from":{from},"to":{destination},{traffic}"#)?;
            separator = ",\n";
            Ok(())
        },
    )?;
    let end = if separator == "[\n" { "[]}\n" } else { "\n]}\n" };
    to.write_all(end.as_bytes())?;
    to.flush()
}

/// Returns JSON without characters that a terminal would obey.
fn escaped(json: impl Display) -> String {
    escape_json(&json.to_string()).into_owned()
}
