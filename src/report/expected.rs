//! The expected matrix, as a table and as JSON. Both are written row by row, because a large cluster has
//! millions of rows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;

use super::escape::{Plain, escape_json};
use super::view;
use crate::document::{ApiVersion, ExpectationKind, ExpectedTraffic, Outcome, Unmodelled, UnshownServices};
use crate::expect::{Matrix, Row};
use crate::policy::{ConnectionsId, PairConnections, UnknownFact};
use crate::snapshot::{Identity, Unshown};

/// What a reader of a matrix must know besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Parts of the manifests that may mean something else than their author thinks.
    pub warnings: &'a [String],
    /// Kinds of objects that are not modelled, so that the matrix may be incomplete.
    pub unmodelled: &'a [Unmodelled],
    /// Services that do something which no row shows, by the reason.
    pub unshown: &'a BTreeMap<Unshown, Vec<Identity>>,
}

impl About<'_> {
    /// Returns a line about each reason why no row shows a Service.
    pub fn notes(self) -> impl Iterator<Item = String> {
        self.unshown.iter().map(|(why, services)| {
            let names: Vec<_> = services.iter().map(ToString::to_string).collect();
            format!("not in the table: Service {}: {why}", names.join(", "))
        })
    }

    /// Returns the outcome: objects that are not modelled leave the matrix incomplete.
    pub fn outcome(self) -> Outcome {
        let is_complete = self.unmodelled.iter().all(|kind| kind.is_accepted);
        if is_complete { Outcome::Pass } else { Outcome::Inconclusive }
    }
}

/// Writes a matrix as a table.
///
/// # Errors
/// If it cannot be written.
pub fn expected_table(matrix: &mut Matrix<'_>, about: About<'_>, mut to: impl Write) -> io::Result<()> {
    let width = matrix.widest_name().max(4);
    writeln!(to, "{:width$}  {:width$}  CONNECTIONS", "FROM", "TO")?;
    let mut texts: HashMap<ConnectionsId, String> = HashMap::new();
    let mut legend = Legend::default();
    matrix.rows(|Row { from, to: destination, connections, id }| {
        let text = texts.entry(id).or_insert_with(|| connections_text(connections, &mut legend));
        writeln!(to, "{:width$}  {:width$}  {text}", Plain(from), Plain(destination))
    })?;
    legend.write(&mut to)?;
    for (i, kind) in about.unmodelled.iter().enumerate() {
        writeln!(to, "{}{}", if i == 0 { "\n" } else { "" }, Plain(view::unmodelled(kind)))?;
    }
    to.flush()
}

fn connections_text(connections: &PairConnections, legend: &mut Legend) -> String {
    let PairConnections { allowed, undefined, assumptions } = connections;
    let mut marks = || assumptions.iter().map(|fact| legend.mark(fact)).collect::<String>();
    match (allowed.is_empty(), undefined.is_empty()) {
        (_, true) => allowed.to_string(),
        (true, false) => format!("undefined: {undefined}{}", marks()),
        (false, false) => format!("{allowed}; undefined: {undefined}{}", marks()),
    }
}

/// Facts on which rows depend, each with a mark.
#[derive(Default)]
struct Legend {
    facts: Vec<UnknownFact>,
}

impl Legend {
    /// Returns the mark of a fact, with a space before it.
    fn mark(&mut self, fact: &UnknownFact) -> String {
        let known = self.facts.iter().position(|other| other == fact);
        let at = known.unwrap_or_else(|| {
            self.facts.push(fact.clone());
            self.facts.len() - 1
        });
        format!(" [{}]", at + 1)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        if self.facts.is_empty() {
            return Ok(());
        }
        writeln!(to, "\nundefined because")?;
        for (i, fact) in self.facts.iter().enumerate() {
            writeln!(to, "  [{}]  {}{}", i + 1, Plain(fact), how_to_add(fact))?;
        }
        Ok(())
    }
}

/// Returns how the user can add a fact to the input.
fn how_to_add(fact: &UnknownFact) -> &'static str {
    match fact {
        UnknownFact::NamespaceLabels { .. } => ": add its Namespace object",
        UnknownFact::PodLabel { .. } => ": a controller sets it; add the pods of a running cluster",
        UnknownFact::PodAddresses => ": give --pod-cidr, or add the pods of a running cluster",
        UnknownFact::NodeAddresses => ": give --node-cidr, or add the Node objects",
        UnknownFact::NodeLabels
        | UnknownFact::DomainNames
        | UnknownFact::Translation
        | UnknownFact::HostNetwork => "",
        UnknownFact::PodNodes => ": add the pods of a running cluster",
    }
}

/// Writes a matrix as JSON, in the form of an [`ExpectationDocument`](crate::document::ExpectationDocument).
///
/// # Errors
/// If it cannot be written.
pub fn expected_json(matrix: &mut Matrix<'_>, about: About<'_>, mut to: impl Write) -> io::Result<()> {
    let About { warnings, unmodelled, unshown } = about;
    let unshown = unshown.iter().map(|(why, services)| UnshownServices {
        services: services.iter().map(ToString::to_string).collect(),
        why: why.to_string(),
    });
    writeln!(to, r#"{{"apiVersion":"{}","kind":"{}","#, ApiVersion::V1Alpha1.name(), KIND.name())?;
    writeln!(to, r#""warnings":{},"#, escaped(json!(warnings)))?;
    writeln!(to, r#""unmodelled":{},"#, escaped(json!(unmodelled)))?;
    writeln!(to, r#""unshown":{},"#, escaped(json!(unshown.collect::<Vec<_>>())))?;
    write!(to, r#""pairs":"#)?;
    // Each name and each set of connections is converted to JSON once.
    let mut names: HashMap<String, String> = HashMap::new();
    let mut traffic: HashMap<ConnectionsId, String> = HashMap::new();
    let mut separator = "[\n";
    matrix.rows(|Row { from, to: destination, connections, id }| {
        for name in [from, destination] {
            if !names.contains_key(name) {
                names.insert(name.to_owned(), escaped(json!(name)));
            }
        }
        if let Entry::Vacant(entry) = traffic.entry(id) {
            let text = serde_json::to_string(&ExpectedTraffic::from(connections))?;
            // The fields follow those of the pair.
            entry.insert(escaped(text.trim_start_matches('{')));
        }
        let quoted = |name: &str| names.get(name).map(String::as_str).unwrap_or_default();
        let fields = traffic.get(&id).map(String::as_str).unwrap_or_default();
        write!(to, r#"{separator} {{"from":{},"to":{},{fields}"#, quoted(from), quoted(destination))?;
        separator = ",\n";
        io::Result::Ok(())
    })?;
    let end = if separator == "[\n" { "[]}\n" } else { "\n]}\n" };
    to.write_all(end.as_bytes())?;
    to.flush()
}

const KIND: ExpectationKind = ExpectationKind::ExpectedMatrix;

/// Returns JSON without characters that a terminal would obey.
fn escaped(json: impl Display) -> String {
    escape_json(&json.to_string()).into_owned()
}
