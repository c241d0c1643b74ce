//! Loading of scenarios from files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::assertion::{Assertion, Claim, ProbePattern};
use super::file::{AssertionFile, DeleteFile, LabelFile, PodFile, ScenarioFile, StepFile};
use super::model::{Demonstrates, Scenario};
use super::reader::Reader;
use super::spec_rule::SpecRule;
use super::step::Step;
use super::topology;
use crate::policy::{ClusterPolicyKind, ClusterPolicyName};
use crate::snapshot::{EndpointSlice, Identity, Object, OtherKinds, OtherObject, Reading, Scaler, objects};
use crate::source::{self, Document, Error, Located, Location, Node, Place, Text, decode, quote};
use crate::world::{Action, Capability, ParseError, Probe, World};

const API_VERSION: &str = "netproof.dev/v1alpha1";
const KIND: &str = "Scenario";
const DEFAULT_PROBES: [&str; 4] = ["80/TCP", "81/TCP", "80/UDP", "81/UDP"];

/// Reads the scenarios of some texts. Each text must have at least one.
///
/// # Errors
/// The first error, with its location.
pub fn load(texts: &[Text]) -> Result<Vec<Scenario>, Error> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for text in texts {
        for document in text.documents()? {
            let scenario = from_document(&document)?;
            if let Some(first) = scenarios.iter().find(|other| other.name == scenario.name) {
                let at = document.node.get("metadata").and_then(|m| m.get("name")).map(|name| name.at);
                let message =
                    format!("the scenario {} is there twice: first in {}", quote(&scenario.name), first.file);
                return Err(Error::at(&document.name, at.unwrap_or(document.node.at), message));
            }
            scenarios.push(scenario);
        }
    }
    Ok(scenarios)
}

/// Reads one scenario.
///
/// # Errors
/// The first error, with its location.
pub fn from_document(document: &Document) -> Result<Scenario, Error> {
    let reader = Reader { name: Arc::clone(&document.name) };
    source::expect_kind(document, API_VERSION, KIND).map_err(|error| match is_manifest(&document.node) {
        true => error.with_hint("this is a manifest, which `netproof expect` reads"),
        false => error,
    })?;
    let file: ScenarioFile = decode(&document.node).map_err(|error| reader.caused(error.at(), "", error))?;
    reader.scenario(file)
}

/// Returns whether a document is an object of Kubernetes.
fn is_manifest(node: &Node) -> bool {
    let text = |field| node.get(field).and_then(Node::as_str);
    text("kind").is_some() && text("apiVersion").is_some_and(|version| !version.starts_with("netproof.dev/"))
}

impl Reader {
    fn scenario(&self, file: ScenarioFile) -> Result<Scenario, Error> {
        self.subdomain(&file.metadata.name)?;
        let otherwise = "not something that can be shown: write policy-gap";
        let demonstrates = file.demonstrates.as_ref().map(|name| {
            self.one_of([Demonstrates::PolicyGap], |_| "policy-gap", name, "demonstrates", otherwise)
        });
        let demonstrates = demonstrates.transpose()?;
        let probes = self.probes(file.probes.as_deref())?;
        let wants_dns = probes.iter().any(|probe| matches!(probe, Probe::Dns { .. }));
        let world = topology::read(self, file.topology.unwrap_or_default(), wants_dns)?;
        if file.steps.value.is_empty() {
            return Err(self.error(file.steps.at, "steps: at least one step is needed"));
        }
        let mut ignored = BTreeMap::new();
        let spec_rules = self.spec_rules(&file.metadata.spec_rules)?;
        let requires = self.requires(&file.requires)?;
        let steps = self.steps(file.steps.value, &world, &spec_rules, &requires, &mut ignored)?;
        let OtherKinds { ignored, unmodelled, staged, mut warnings } = OtherKinds::new(&ignored);
        warnings.extend(staged.iter().map(|kind| format!("not enforced: {kind}")));
        Ok(Scenario {
            nodes: Vec::new(),
            name: file.metadata.name.value,
            description: file.metadata.description,
            tags: file.metadata.tags,
            spec_rules,
            references: file.metadata.references,
            world,
            probes,
            steps,
            demonstrates,
            ignored,
            unmodelled,
            warnings,
            file: Arc::clone(&self.name),
        })
    }

    fn spec_rules(&self, numbers: &[Located<i64>]) -> Result<BTreeSet<SpecRule>, Error> {
        let spec_rule = |Located { value, at }: &Located<i64>| {
            SpecRule::new(*value)
                .ok_or_else(|| self.error(*at, format!("specRules: docs/semantics.md has no rule {value}")))
        };
        numbers.iter().map(spec_rule).collect()
    }

    fn requires(&self, names: &[Located<String>]) -> Result<BTreeSet<Capability>, Error> {
        let capability = |Located { value, at }: &Located<String>| {
            value.parse().map_err(|error: ParseError| self.caused(*at, "requires: ", error))
        };
        names.iter().map(capability).collect()
    }

    fn probes(&self, texts: Option<&[Located<String>]>) -> Result<Vec<Probe>, Error> {
        let default = DEFAULT_PROBES.map(|text| Located { value: text.to_owned(), at: Location::START });
        let mut probes = Vec::new();
        for Located { value, at } in texts.unwrap_or(&default) {
            for probe in Probe::parse(value).map_err(|error| self.caused(*at, "probes: ", error))? {
                if probes.contains(&probe) {
                    return Err(self.error(*at, format!("probes: {} is there twice", quote(value))));
                }
                probes.push(probe);
            }
        }
        Ok(probes)
    }

    fn steps(
        &self,
        files: Vec<StepFile>,
        start: &World,
        spec_rules: &BTreeSet<SpecRule>,
        requires: &BTreeSet<Capability>,
        ignored: &mut BTreeMap<OtherObject, usize>,
    ) -> Result<Vec<Step>, Error> {
        let mut world = start.clone();
        let mut names = BTreeSet::new();
        let mut steps = Vec::new();
        for file in files {
            if !names.insert(file.name.value.clone()) {
                return Err(self.twice(file.name.at, "step", &file.name.value));
            }
            let own_rules = file.spec_rules.as_deref().map(|rules| self.spec_rules(rules)).transpose()?;
            let actions = self.actions(&file, &world, ignored)?;
            for Located { value: action, at } in &actions {
                world.apply(action).map_err(|error| self.caused(*at, "", error))?;
            }
            steps.push(Step {
                name: file.name.value,
                description: file.description,
                spec_rules: own_rules.unwrap_or_else(|| spec_rules.clone()),
                requires: &self.requires(&file.requires)? | requires,
                actions: actions.into_iter().map(|action| action.value).collect(),
                keep_open: self.keep_open(&file.keep_open)?,
                expect: self.assertions(&file.expect)?,
                intent: self.assertions(&file.intent)?,
            });
        }
        Ok(steps)
    }

    fn actions(
        &self,
        file: &StepFile,
        world: &World,
        ignored: &mut BTreeMap<OtherObject, usize>,
    ) -> Result<Vec<Located<Action>>, Error> {
        let mut actions = Vec::new();
        for node in &file.apply {
            self.apply(node, world, &mut actions, ignored)?;
        }
        let pod = |change: fn(Identity) -> Action| {
            move |name: &Located<String>| (name.at, self.pod_name(name).map(change))
        };
        let added = |pod: &Located<PodFile>| {
            (pod.at, topology::added_pod(self, &pod.value, pod.at, world).map(Action::AddPod))
        };
        let changes = (file.delete.iter().map(|file| (file.at, self.delete(&file.value))))
            .chain(file.label.iter().map(|file| (file.at, self.relabel(&file.value, file.at))))
            .chain(file.remove_pod.iter().map(pod(Action::RemovePod)))
            .chain(file.end_pod.iter().map(pod(Action::EndPod)))
            .chain(file.add_pod.iter().map(added));
        for (at, action) in changes {
            actions.push(Located { value: action?, at });
        }
        Ok(actions)
    }

    /// Reads an entry of `apply`: a manifest, or the name of a file relative to the scenario.
    fn apply(
        &self,
        node: &Node,
        world: &World,
        actions: &mut Vec<Located<Action>>,
        ignored: &mut BTreeMap<OtherObject, usize>,
    ) -> Result<(), Error> {
        let Some(file) = node.as_str() else {
            let document = Document { name: Arc::clone(&self.name), node: node.clone() };
            return self.manifest(&document, None, world, actions, ignored);
        };
        let path = Path::new(&*self.name).parent().unwrap_or(Path::new("")).join(file);
        let text = source::read_file(&path).map_err(|error| self.caused(node.at, "apply: ", error))?;
        for document in text.manifests()? {
            self.manifest(&document, Some(node.at), world, actions, ignored)?;
        }
        Ok(())
    }

    /// Reads a manifest. `named_at` is where the scenario names the file of the manifest, if it is in another
    /// file.
    ///
    /// Endpoints that the same step adds have no address yet. So names in the manifest stand for addresses of
    /// `world`, the state before the step.
    fn manifest(
        &self,
        document: &Document,
        named_at: Option<Location>,
        world: &World,
        actions: &mut Vec<Located<Action>>,
        ignored: &mut BTreeMap<OtherObject, usize>,
    ) -> Result<(), Error> {
        let lookup = |name: &_| Ok(world.address_by_name(name)?);
        let reading = Reading { lookup: Some(&lookup), ..Reading::default() };
        for item in objects(document, reading)? {
            let action = match item.object {
                Object::NetworkPolicy(policy) => Action::SetPolicy(policy),
                Object::ClusterPolicy(policy) => Action::SetClusterPolicy(policy),
                Object::Service(service) => match service.untestable {
                    None => Action::SetService(service),
                    Some(Located { value, at }) => {
                        let place = Place { location: Some(at), ..item.place };
                        let message = format!("Service {}: {value}", quote(&service.service.name));
                        return Err(Error::new(place, message));
                    }
                },
                Object::Namespace(namespace) => Action::LabelNamespace {
                    labels: namespace.labels.into_iter().map(|(key, value)| (key, Some(value))).collect(),
                    namespace: namespace.name,
                },
                Object::Pod(..) | Object::Template(_) => {
                    let message =
                        "a scenario's pods are those of its topology and of addPod: describe it there";
                    return Err(Error::new(item.place, message));
                }
                Object::Node(_) => {
                    let message = "a scenario's nodes are those of its topology: describe them there";
                    return Err(Error::new(item.place, message));
                }
                Object::Scaler(Scaler { object, .. })
                | Object::EndpointSlice(EndpointSlice { object, .. })
                | Object::Other(object) => {
                    *ignored.entry(object).or_default() += 1;
                    continue;
                }
            };
            let at = named_at.or(item.place.location).unwrap_or(Location::START);
            actions.push(Located { value: action, at });
        }
        Ok(())
    }

    fn delete(&self, file: &DeleteFile) -> Result<Action, Error> {
        let kind = file.kind.value.as_str();
        if let Some(kind) = ClusterPolicyKind::of(kind) {
            if let Some(namespace) = &file.namespace {
                let message = format!("delete.namespace: a {kind} belongs to no namespace: leave it out");
                return Err(self.error(namespace.at, message));
            }
            return Ok(Action::DeleteClusterPolicy(ClusterPolicyName { kind, name: file.name.clone() }));
        }
        let action = match kind {
            "NetworkPolicy" => Action::DeletePolicy,
            "Service" => Action::DeleteService,
            other => {
                let kinds = ClusterPolicyKind::ALL.map(ClusterPolicyKind::name).join(", ");
                let message =
                    format!("delete.kind: {} is none of NetworkPolicy, Service, {kinds}", quote(other));
                return Err(self.error(file.kind.at, message));
            }
        };
        let Some(namespace) = &file.namespace else {
            return Err(self.error(file.kind.at, format!("delete: a {kind} needs its namespace")));
        };
        Ok(action(Identity::new(&namespace.value, &file.name)))
    }

    fn relabel(&self, file: &LabelFile, at: Location) -> Result<Action, Error> {
        let labels = file.labels.value.clone();
        for (key, value) in &labels {
            self.label(key, value.as_deref().unwrap_or_default(), file.labels.at)?;
        }
        match (&file.pod, &file.namespace) {
            (Some(pod), None) => Ok(Action::LabelPod { pod: self.pod_name(pod)?, labels }),
            (None, Some(namespace)) => {
                Ok(Action::LabelNamespace { namespace: namespace.value.clone(), labels })
            }
            (Some(_), Some(_)) | (None, None) => {
                Err(self.error(at, "label: name either a pod or a namespace"))
            }
        }
    }

    fn pod_name(&self, Located { value, at }: &Located<String>) -> Result<Identity, Error> {
        match value.split_once('/') {
            Some((namespace, name)) if !name.contains('/') => Ok(Identity::new(namespace, name)),
            Some(_) | None => {
                Err(self.error(*at, format!("{} is not a pod: write NAMESPACE/POD", quote(value))))
            }
        }
    }

    fn assertions(&self, files: &[Located<AssertionFile>]) -> Result<Vec<Assertion>, Error> {
        files.iter().map(|Located { value, at }| self.assertion(value, *at)).collect()
    }

    fn assertion(&self, file: &AssertionFile, at: Location) -> Result<Assertion, Error> {
        let claims =
            [(Claim::Allow, &file.allow), (Claim::Deny, &file.deny), (Claim::Undefined, &file.undefined)];
        let mut made = claims.into_iter().filter_map(|(claim, probes)| Some((claim, probes.as_ref()?)));
        let (Some((claim, probes)), None) = (made.next(), made.next()) else {
            return Err(self.error(at, "an assertion says one of allow, deny and undefined"));
        };
        if probes.is_empty() {
            return Err(self.error(at, format!("{claim}: name at least one probe, or all")));
        }
        let (from, to) = self.ends(&file.from, &file.to)?;
        let probes = probes.iter().map(|Located { value, at }| {
            ProbePattern::parse(value).map_err(|error| self.caused(*at, &format!("{claim}: "), error))
        });
        let family = file.family.as_ref().map(|family| self.family(family, "family")).transpose()?;
        Ok(Assertion { from, to, claim, probes: probes.collect::<Result<_, _>>()?, family, at })
    }
}

#[cfg(test)]
impl Scenario {
    /// Reads a scenario from a text without errors.
    pub(crate) fn from_text(text: &str) -> Self {
        let node = source::parse(text).unwrap().remove(0);
        from_document(&Document { name: "scenario.yaml".into(), node }).unwrap()
    }
}
