//! The options for what a site requires of the namespaces and pods of a run.

use std::collections::BTreeMap;
use std::fmt::Display;

use clap::Args;

use super::backend_kind::ON_A_CLUSTER;
use crate::backend::cluster::{NO_SIDECARS, Site, TaintEffect, Toleration, shell_word};
use crate::snapshot::{Field, rules};

/// What a site requires of namespaces and pods.
#[derive(Debug, Clone, Args)]
pub(super) struct SiteOptions {
    /// Set this label on all namespaces of the run, such as cost-centre=42. Policies see it. If a scenario sets
    /// the label itself, its own value is used. Repeat the option for more labels
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, help_heading = ON_A_CLUSTER)]
    namespace_label: Vec<Pair>,

    /// Set this annotation on all namespaces of the run. Repeat the option for more annotations
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation, help_heading = ON_A_CLUSTER)]
    #[arg(conflicts_with = "prepared_namespaces")]
    namespace_annotation: Vec<Pair>,

    /// Set this label on all pods of the run, such as owner=platform. Policies see it. If a scenario sets the
    /// label itself, its own value is used. Repeat the option for more labels
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, help_heading = ON_A_CLUSTER)]
    pod_label: Vec<Pair>,

    /// Set this annotation on all pods of the run, such as kuma.io/sidecar-injection=disabled. Repeat the option
    /// for more annotations
    #[arg(long, value_name = "KEY=VALUE", value_parser = annotation, help_heading = ON_A_CLUSTER)]
    pod_annotation: Vec<Pair>,

    /// Use only nodes with this label, such as pool=test. Repeat the option for more labels
    #[arg(long, value_name = "KEY=VALUE", value_parser = node_label, help_heading = ON_A_CLUSTER)]
    node_selector: Vec<Pair>,

    /// Let pods tolerate this taint, such as dedicated=test:NoSchedule, and use the nodes that have it. Repeat
    /// the option for more taints [default: pods tolerate all taints, and run on untainted nodes if there are any]
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = toleration, help_heading = ON_A_CLUSTER)]
    toleration: Vec<Toleration>,

    /// The PriorityClass of the pods. Use one with preemptionPolicy: Never, so that they displace no other pods
    #[arg(long, value_name = "NAME", value_parser = priority_class, help_heading = ON_A_CLUSTER)]
    priority_class: Option<String>,
}

/// The key and the value of a label or an annotation.
type Pair = (String, String);

/// Keys of labels and annotations that only netproof or the API server set. A site can still set the labels of
/// Pod Security for warnings and audits.
const RESERVED: [&str; 4] = [
    "app.kubernetes.io/managed-by",
    "kubernetes.io/metadata.name",
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/enforce-version",
];
const RESERVED_PREFIX: &str = "netproof.dev/";

impl SiteOptions {
    /// Returns what the site requires.
    pub(super) fn site(&self) -> anyhow::Result<Site> {
        Ok(Site {
            namespace_labels: distinct("--namespace-label", &self.namespace_label)?,
            namespace_annotations: distinct("--namespace-annotation", &self.namespace_annotation)?,
            pod_labels: distinct("--pod-label", &self.pod_label)?,
            pod_annotations: distinct("--pod-annotation", &self.pod_annotation)?,
            node_selector: distinct("--node-selector", &self.node_selector)?,
            tolerations: self.toleration.clone(),
            priority_class: self.priority_class.clone(),
        })
    }

    /// Returns the options as the user wrote them, each after a space.
    pub(super) fn as_given(&self) -> String {
        let pairs = [
            ("--namespace-label", &self.namespace_label),
            ("--namespace-annotation", &self.namespace_annotation),
            ("--pod-label", &self.pod_label),
            ("--pod-annotation", &self.pod_annotation),
            ("--node-selector", &self.node_selector),
        ];
        let pairs = pairs.into_iter().flat_map(|(option, pairs)| {
            pairs.iter().map(move |(key, value)| (option, format!("{key}={value}")))
        });
        let tolerations = self.toleration.iter().map(|it| ("--toleration", it.to_string()));
        let class = self.priority_class.iter().map(|name| ("--priority-class", name.clone()));
        pairs
            .chain(tolerations)
            .chain(class)
            .map(|(option, value)| format!(" {option} {}", shell_word(&value)))
            .collect()
    }
}

/// Returns pairs as a map. Refuses a key that is given twice with different values.
fn distinct(option: &str, pairs: &[Pair]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some_and(|other| other != *value) {
            anyhow::bail!("{option} {key}: it is there twice, with different values");
        }
    }
    Ok(map)
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=')
        .ok_or_else(|| format!("`{text}` has no value: write KEY=VALUE, or KEY= without a value"))
}

/// Parses a label that netproof sets on its objects.
fn label(text: &str) -> Result<Pair, String> {
    let label = node_label(text)?;
    refuse_reserved(&label.0)?;
    Ok(label)
}

fn node_label(text: &str) -> Result<Pair, String> {
    let (key, value) = pair(text)?;
    rules::label_key(key, &Field::ROOT).map_err(say)?;
    rules::label_value(value, &Field::ROOT).map_err(say)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses an annotation. Its value may be any text.
fn annotation(text: &str) -> Result<Pair, String> {
    let (key, value) = pair(text)?;
    rules::annotation_key(key, &Field::ROOT).map_err(say)?;
    refuse_reserved(key)?;
    match NO_SIDECARS.iter().find(|(own, own_value)| *own == key && *own_value != value) {
        Some((_, own)) => Err(format!("{key} is `{own}` on all pods: they must not have sidecars")),
        None => Ok((key.to_owned(), value.to_owned())),
    }
}

fn refuse_reserved(key: &str) -> Result<(), String> {
    match RESERVED.contains(&key) || key.starts_with(RESERVED_PREFIX) {
        true => Err(format!("{key} is reserved: netproof or the API server set it themselves")),
        false => Ok(()),
    }
}

/// Parses a toleration, as kubectl writes taints.
fn toleration(text: &str) -> Result<Toleration, String> {
    let (taint, effect) = match text.split_once(':') {
        Some((taint, effect)) => (taint, Some(self::effect(effect)?)),
        None => (text, None),
    };
    let (key, value) = taint.split_once('=').map_or((taint, None), |(key, value)| (key, Some(value)));
    rules::label_key(key, &Field::ROOT).map_err(say)?;
    rules::label_value(value.unwrap_or_default(), &Field::ROOT).map_err(say)?;
    Ok(Toleration { key: key.to_owned(), value: value.map(str::to_owned), effect })
}

fn effect(text: &str) -> Result<TaintEffect, String> {
    let found = TaintEffect::ALL.into_iter().find(|effect| effect.name() == text);
    found.ok_or_else(|| {
        let known = TaintEffect::ALL.map(TaintEffect::name).join(", ");
        format!("`{text}` is not the effect of a taint: write one of {known}, or none for all")
    })
}

fn priority_class(text: &str) -> Result<String, String> {
    rules::subdomain(text, &Field::ROOT).map_err(say)?;
    Ok(text.to_owned())
}

fn say(problem: impl Display) -> String {
    problem.to_string()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::super::cluster::ClusterOptions;
    use super::*;

    #[test]
    fn tolerations_are_written_as_taints() {
        let parsed = |text: &str| toleration(text).unwrap();
        for text in ["gpu", "gpu=a", "gpu=", "gpu:NoExecute", "example.com/gpu=a:NoSchedule"] {
            assert_eq!(parsed(text).to_string(), text);
        }
        assert_eq!(parsed("gpu=").value.as_deref(), Some(""));
        assert_eq!(parsed("gpu:NoExecute").value, None);
    }

    #[test]
    fn what_the_api_server_or_netproof_would_refuse_is_refused_at_once() {
        let long = "a".repeat(64);
        let labels = [
            "team",
            "=x",
            "a b=x",
            "Example.com/a=x",
            "a/b/c=x",
            &format!("{long}=x"),
            &format!("a={long}"),
            "a=-x",
            "netproof.dev/run=x",
            "app.kubernetes.io/managed-by=helm",
            "kubernetes.io/metadata.name=x",
            "pod-security.kubernetes.io/enforce=baseline",
            "pod-security.kubernetes.io/enforce-version=v1.30",
        ];
        let annotations = ["team", "a b=x", "netproof.dev/taken=x", "sidecar.istio.io/inject=true"];
        let tolerations = ["", "=x", "a=b c", "a:noschedule", "a=b:NoSchedule:x"];
        let refusals = labels
            .map(|text| label(text).unwrap_err())
            .into_iter()
            .chain(annotations.map(|text| annotation(text).unwrap_err()))
            .chain(tolerations.map(|text| toleration(text).unwrap_err()))
            .chain([priority_class("High").unwrap_err()]);
        insta::assert_snapshot!(refusals.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn what_kubernetes_accepts_is_accepted() {
        for text in [
            "owner=",
            "example.com/Cost_Centre.x=42",
            "pod-security.kubernetes.io/warn=restricted",
            "pod-security.kubernetes.io/audit-version=latest",
        ] {
            label(text).unwrap();
        }
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(annotation("a=b=c, {d}"), Ok(pair("a", "b=c, {d}")));
        // Kubernetes ignores the case of the keys of annotations.
        assert_eq!(annotation("Example.com/a="), Ok(pair("Example.com/a", "")));
        annotation("sidecar.istio.io/inject=false").unwrap();
        label("sidecar.istio.io/inject=false").unwrap();
        node_label("kubernetes.io/hostname=a").unwrap();
    }

    #[test]
    fn options_can_be_given_again() {
        let command = ClusterOptions::augment_args(clap::Command::new("netproof"));
        let given = " --namespace-label a=b --pod-label c=d --pod-label e= --pod-annotation 'f={\"g\": \"h'\\''s\"}' \
                     --node-selector i=j --toleration k=l:NoExecute --priority-class m";
        let words = shlex::split(given).unwrap();
        let matches =
            command.try_get_matches_from(std::iter::once("netproof".to_owned()).chain(words)).unwrap();
        let options = ClusterOptions::from_arg_matches(&matches).unwrap().probes.site;
        assert_eq!(options.as_given(), given);
        assert_eq!(options.site().unwrap().pod_annotations["f"], r#"{"g": "h's"}"#);
    }

    #[test]
    fn a_key_has_one_value() {
        let pair = |value: &str| ("team".to_owned(), value.to_owned());
        let message = distinct("--pod-label", &[pair("a"), pair("b")]).unwrap_err().to_string();
        assert_eq!(message, "--pod-label team: it is there twice, with different values");
        assert_eq!(distinct("--pod-label", &[pair("a"), pair("a")]).unwrap().len(), 1);
    }
}
