//! Reads profiles from files.

use std::convert::Infallible;
use std::sync::Arc;

use super::bounds;
use super::file::{CellsFile, DeviationFile, ProfileFile};
use super::model::{CellPattern, KnownDeviation, PolicyPattern, Profile, Quirk};
use crate::deviation::{Deviation, RouteQuirk};
use crate::policy::{Decision, Direction};
use crate::scenario::{Assertion, Claim, DestinationPattern, ProbePattern, Reader};
use crate::source::{Document, Error, Located, Node, Place, Text, decode, expect_kind, quote};
use crate::verdict::Excuse;
use crate::world::EndpointPattern;

const API_VERSION: &str = "netproof.dev/v1alpha1";
const KIND: &str = "Profile";

/// Reads profiles from texts. Each text has at least one profile.
///
/// # Errors
/// Returns the first error, with its place.
pub fn load(texts: &[Text]) -> Result<Vec<Profile>, Error> {
    let mut profiles: Vec<Profile> = Vec::new();
    for text in texts {
        for document in text.documents()? {
            let profile = from_document(&document)?;
            if profiles.iter().any(|other| other.name == profile.name) {
                let message = format!("the profile {} is there twice", quote(&profile.name));
                return Err(Error::at(&document.name, document.node.at, message));
            }
            profiles.push(profile);
        }
    }
    Ok(profiles)
}

/// Reads one profile.
///
/// # Errors
/// Returns the first error, with its place.
pub fn from_document(document: &Document) -> Result<Profile, Error> {
    expect_kind(document, API_VERSION, KIND)?;
    let reader = Reader { name: Arc::clone(&document.name) };
    let file: ProfileFile = decode(&document.node).map_err(|error| reader.caused(error.at(), "", error))?;
    reader.profile(file)
}

impl Reader {
    fn profile(&self, file: ProfileFile) -> Result<Profile, Error> {
        let name = file.metadata.name;
        self.subdomain(&name)?;
        if file.deviations.value.is_empty() {
            return Err(self.error(file.deviations.at, "deviations: at least one is needed"));
        }
        let deviations = file.deviations.value.iter();
        let deviations = deviations.map(|deviation| self.deviation(&name.value, deviation));
        let deviations = deviations.collect::<Result<_, _>>()?;
        let description = self.text(&file.metadata.description, "metadata.description")?;
        Ok(Profile { name: name.value, description, deviations })
    }

    fn deviation(
        &self,
        profile: &str,
        Located { value: file, at }: &Located<DeviationFile>,
    ) -> Result<KnownDeviation, Error> {
        let references = self.strings(&file.references, "references")?;
        let reason = self.text(&file.reason, "reason")?;
        let references = references.iter().map(|reference| self.text(reference, "references"));
        let references = references.collect::<Result<_, _>>()?;
        let cells = self.cells(&file.cells)?;
        let quirk = cells.quirk.and_then(Deviation::route);
        let excuse = Excuse {
            profile: profile.to_owned(),
            reason,
            references,
            place: Place { name: Arc::clone(&self.name), location: Some(*at) }.to_string(),
            is_momentary: quirk.is_some_and(RouteQuirk::is_momentary),
            longest_moment: quirk.and_then(RouteQuirk::longest_moment),
        };
        Ok(KnownDeviation { excuse: Arc::new(excuse), cells })
    }

    /// Returns a text in one line. An empty text is an error.
    fn text(&self, text: &Located<String>, field: &str) -> Result<String, Error> {
        let words: Vec<_> = text.value.split_whitespace().collect();
        if words.is_empty() {
            Err(self.error(text.at, format!("{field}: it is empty")))
        } else {
            Ok(words.join(" "))
        }
    }

    fn cells(&self, Located { value: file, at }: &Located<CellsFile>) -> Result<CellPattern, Error> {
        let CellsFile { quirk, scenarios, steps, from, to, probes, policies, direction, family, expected } =
            file;
        let everything = vec![DestinationPattern::Other(EndpointPattern::Any), DestinationPattern::Itself];
        let covered = Assertion {
            from: self.patterns(from.as_ref(), "from", vec![EndpointPattern::Any], EndpointPattern::parse)?,
            to: self.patterns(to.as_ref(), "to", everything, DestinationPattern::parse)?,
            claim: Claim::Undefined,
            probes: self.patterns(probes.as_ref(), "probes", vec![ProbePattern::All], ProbePattern::parse)?,
            family: family.as_ref().map(|family| self.family(family, "family")).transpose()?,
            at: *at,
        };
        let name = |text: &str| Ok::<_, Infallible>(text.to_owned());
        let cells = CellPattern {
            quirk: quirk.as_ref().map(|quirk| self.quirk(quirk)).transpose()?,
            scenarios: self.patterns(scenarios.as_ref(), "scenarios", Vec::new(), name)?,
            steps: self.patterns(steps.as_ref(), "steps", Vec::new(), name)?,
            covered,
            policies: PolicyPattern {
                names: self.patterns(policies.as_ref(), "policies", Vec::new(), policy)?,
                direction: direction.as_ref().map(|direction| self.direction(direction)).transpose()?,
            },
            expected: expected.as_ref().map(|expected| self.expected(expected)).transpose()?,
        };
        bounds::check(file, *at, &cells).map_err(|(at, message)| self.error(at, message))?;
        Ok(cells)
    }

    /// Returns the patterns of a field. `default` counts if the field is missing.
    fn patterns<T, E: std::fmt::Display>(
        &self,
        node: Option<&Node>,
        field: &str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Error> {
        let Some(node) = node else { return Ok(default) };
        let one = |Located { value, at }: &Located<String>| {
            parse(value).map_err(|message| self.error(*at, format!("{field}: {message}")))
        };
        self.strings(node, field)?.iter().map(one).collect()
    }

    fn quirk(&self, name: &Located<String>) -> Result<Quirk, Error> {
        let known: Vec<_> = Deviation::quirks().map(|quirk| quirk.name).collect();
        let otherwise = format!("none of: {}", known.join(", "));
        self.one_of(Deviation::quirks(), |quirk| quirk.name, name, "quirk", &otherwise)
    }

    fn direction(&self, name: &Located<String>) -> Result<Direction, Error> {
        self.one_of(Direction::ALL, Direction::name, name, "direction", "neither ingress nor egress")
    }

    fn expected(&self, name: &Located<String>) -> Result<Decision, Error> {
        let values = [Decision::Allow, Decision::Deny];
        self.one_of(values, Decision::name, name, "expected", "neither allow nor deny")
    }
}

/// A text with neither a separator nor a wildcard, which would match no policy.
#[derive(Debug, thiserror::Error)]
#[error("{} names no policy: write NAMESPACE/NAME or KIND NAME, with * for any text", quote(.0))]
struct NoPolicy(String);

/// Returns a pattern for policy names.
fn policy(text: &str) -> Result<String, NoPolicy> {
    if text.contains(['/', ' ', '*']) { Ok(text.to_owned()) } else { Err(NoPolicy(text.to_owned())) }
}
