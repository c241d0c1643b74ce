//! The expected matrix, as a table and as JSON. Written row by row: a large cluster has millions.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;

use super::escape::{Plain, escape_json};
use super::json::API_VERSION;
use super::unmodelled;
use crate::expect::{Matrix, Row, port_lists};
use crate::policy::{Connections, ConnectionsId, PairConnections, UnknownFact};
use crate::snapshot::{Identity, Unmodelled, Unshown};
use crate::verdict::Outcome;

/// What a reader of a matrix has to know besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// What may mean something else than the author of the manifests thinks.
    pub warnings: &'a [String],
    /// The kinds of which there are objects without which the matrix is not complete.
    pub unmodelled: &'a [Unmodelled],
    /// The Services that do something which no row shows, by the reason.
    pub unshown: &'a BTreeMap<Unshown, Vec<Identity>>,
}

impl About<'_> {
    /// What no row shows, as lines for a person.
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
        writeln!(to, "{}{}", if i == 0 { "\n" } else { "" }, Plain(unmodelled::line(kind)))?;
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

/// The facts on which rows depend, each with a mark.
#[derive(Default)]
struct Legend {
    facts: Vec<UnknownFact>,
}

impl Legend {
    /// The mark of a fact, with a space before it.
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
            writeln!(to, "  [{}]  {}{}", i + 1, Plain(fact), how_to_say(fact))?;
        }
        Ok(())
    }
}

/// How to say what is not known.
fn how_to_say(fact: &UnknownFact) -> &'static str {
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

/// Writes a matrix as JSON; its shape is documented in `docs/json.md`.
///
/// # Errors
/// If it cannot be written.
pub fn expected_json(matrix: &mut Matrix<'_>, about: About<'_>, mut to: impl Write) -> io::Result<()> {
    let About { warnings, unmodelled, unshown } = about;
    let unshown = unshown.iter().map(|(why, services)| {
        let services: Vec<_> = services.iter().map(ToString::to_string).collect();
        json!({ "services": services, "why": why.to_string() })
    });
    writeln!(to, r#"{{"apiVersion":"{API_VERSION}","kind":"ExpectedMatrix","#)?;
    writeln!(to, r#""warnings":{},"#, escaped(json!(warnings)))?;
    writeln!(to, r#""unmodelled":{},"#, escaped(json!(unmodelled::documents(unmodelled))))?;
    writeln!(to, r#""unshown":{},"#, escaped(unshown.collect::<serde_json::Value>()))?;
    write!(to, r#""pairs":"#)?;
    // Each name and each set of connections is turned into JSON once.
    let mut names: HashMap<String, String> = HashMap::new();
    let mut rests: HashMap<ConnectionsId, String> = HashMap::new();
    let mut separator = "[\n";
    matrix.rows(|Row { from, to: destination, connections, id }| {
        for name in [from, destination] {
            if !names.contains_key(name) {
                names.insert(name.to_owned(), escaped(json!(name)));
            }
        }
        let quoted = |name: &str| names.get(name).map(String::as_str).unwrap_or_default();
        let rest = rests.entry(id).or_insert_with(|| rest(connections));
        write!(to, r#"{separator} {{"from":{},"to":{},{rest}}}"#, quoted(from), quoted(destination))?;
        separator = ",\n";
        io::Result::Ok(())
    })?;
    let end = if separator == "[\n" { "[]}\n" } else { "\n]}\n" };
    to.write_all(end.as_bytes())?;
    to.flush()
}

/// A value as JSON on one line, without characters that a terminal would obey.
fn escaped(value: impl Display) -> String {
    escape_json(&value.to_string()).into_owned()
}

/// Everything of a row but its ends.
fn rest(connections: &PairConnections) -> String {
    let PairConnections { allowed, undefined, assumptions } = connections;
    let mut rest = format!(r#""connections":{}"#, value(allowed));
    if !undefined.is_empty() {
        rest.push_str(&format!(r#","undefined":{}"#, value(undefined)));
        let assumptions: Vec<_> = assumptions.iter().map(ToString::to_string).collect();
        rest.push_str(&format!(r#","assumptions":{}"#, escaped(json!(assumptions))));
    }
    rest
}

fn value(connections: &Connections) -> serde_json::Value {
    if connections.is_all() {
        return json!("all");
    }
    port_lists(connections).map(|(protocol, ports)| (protocol.to_owned(), json!(ports))).collect()
}
