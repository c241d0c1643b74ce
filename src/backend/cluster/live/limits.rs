//! LimitRanges: the defaults that a namespace gives to probe pods, and the bounds that they must keep.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::amount::Amount;
use crate::backend::cluster::settings::Resources;

/// The requests and limits of a probe pod in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) requests: BTreeMap<String, Amount>,
    pub(super) limits: BTreeMap<String, Amount>,
}

type Amounts = Option<BTreeMap<String, Quantity>>;

impl Needs {
    /// Returns what a pod with these resources needs in a namespace with these LimitRanges.
    pub(super) fn new(resources: &Resources, ranges: &[LimitRange]) -> Self {
        let parse = |amounts: &BTreeMap<String, String>| -> BTreeMap<String, Amount> {
            let parsed = amounts.iter();
            parsed.filter_map(|(name, text)| Some((name.clone(), Amount::parse(text)?))).collect()
        };
        let mut needs = Self { requests: parse(&resources.requests), limits: parse(&resources.limits) };
        // The API server derives requests from limits before it applies the defaults of the namespace.
        needs.request_limits();
        for item in ranges.iter().flat_map(items).filter(|item| item.type_ == "Container") {
            let defaults = [(&item.default, &mut needs.limits), (&item.default_request, &mut needs.requests)];
            for (defaults, own) in defaults {
                for (name, amount) in parsed(defaults) {
                    own.entry(name.to_owned()).or_insert(amount);
                }
            }
        }
        needs.request_limits();
        needs
    }

    fn request_limits(&mut self) {
        for (name, limit) in &self.limits {
            self.requests.entry(name.clone()).or_insert(*limit);
        }
    }
}

/// Describes what LimitRanges refuse about pods with these needs, with what to do.
pub(super) fn refusals(needs: &Needs, ranges: &[LimitRange]) -> Vec<String> {
    let refusals = ranges.iter().flat_map(|range| {
        let name = format!("LimitRange {}/{}", range.namespace().unwrap_or_default(), range.name_any());
        // A probe pod has one container, so both kinds say the same.
        let items = items(range).filter(|item| ["Container", "Pod"].contains(&item.type_.as_str()));
        items.flat_map(|item| of_item(needs, item)).map(move |refusal| format!("{name}: {refusal}"))
    });
    refusals.collect()
}

fn of_item(needs: &Needs, item: &LimitRangeItem) -> Vec<String> {
    let kind = &item.type_;
    // A pod without a limit may use any amount, so only its request must reach the minimum, and no pod without a limit keeps
    // a maximum.
    let mut found = beyond(needs, kind, ("least", &item.min), "request", |own, least| own < least);
    found.extend(beyond(needs, kind, ("most", &item.max), "limit", |own, most| own > most));
    for (name, most) in parsed(&item.max_limit_request_ratio) {
        let (request, limit) = (needs.requests.get(name), needs.limits.get(name));
        let ratio = request.zip(limit).and_then(|(request, limit)| limit.ratio(*request));
        if ratio.is_none_or(|ratio| ratio > most) {
            found.push(format!(
                "the {name} limit of a {kind} is at most {most} times the request, and a probe pod has request {} and limit {}: \
                 set both with --pod-requests and --pod-limits",
                say(request),
                say(limit)
            ));
        }
    }
    found
}

/// Describes the requests and limits that are beyond the bounds of a LimitRange. `required` is what must be set for a bound.
fn beyond(
    needs: &Needs,
    kind: &str,
    (extreme, bounds): (&str, &Amounts),
    required: &str,
    is_beyond: impl Fn(Amount, Amount) -> bool,
) -> Vec<String> {
    let asked = [("request", "--pod-requests", &needs.requests), ("limit", "--pod-limits", &needs.limits)];
    let mut found = Vec::new();
    for (name, bound) in parsed(bounds) {
        for (what, option, own) in asked {
            let own = own.get(name);
            if own.map_or(what == required, |own| is_beyond(*own, bound)) {
                found.push(format!(
                    "the {extreme} {name} of a {kind} is {bound}, and the {what} of a probe pod is {}: add {option} {name}={bound}",
                    say(own)
                ));
            }
        }
    }
    found
}

fn say(amount: Option<&Amount>) -> String {
    amount.map_or_else(|| "not set".to_owned(), Amount::to_string)
}

fn items(range: &LimitRange) -> impl Iterator<Item = &LimitRangeItem> {
    range.spec.iter().flat_map(|spec| &spec.limits)
}

/// Returns the amounts that netproof can read, by resource.
fn parsed(amounts: &Amounts) -> impl Iterator<Item = (&str, Amount)> {
    let amounts = amounts.iter().flatten();
    amounts.filter_map(|(name, amount)| Some((name.as_str(), Amount::parse(&amount.0)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn range(limits: &Value) -> LimitRange {
        let range = json!({"metadata": {"name": "l", "namespace": "x"}, "spec": {"limits": limits}});
        serde_json::from_value(range).unwrap()
    }

    fn found(limits: &Value) -> Vec<String> {
        let ranges = [range(limits)];
        refusals(&Needs::new(&Resources::default(), &ranges), &ranges)
    }

    #[test]
    fn what_a_limit_range_refuses_is_told_with_numbers() {
        let refused = found(&json!([
            {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "200m", "memory": "1Gi"}},
            {"type": "Pod", "maxLimitRequestRatio": {"memory": "2"}},
            {"type": "Container", "min": {"ephemeral-storage": "1Mi"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}},
        ]));
        insta::assert_snapshot!(refused.join("\n"), @"
        LimitRange x/l: the least cpu of a Container is 100m, and the request of a probe pod is 5m: add --pod-requests cpu=100m
        LimitRange x/l: the most cpu of a Container is 200m, and the limit of a probe pod is 500m: add --pod-limits cpu=200m
        LimitRange x/l: the memory limit of a Pod is at most 2 times the request, and a probe pod has request 16Mi and limit 64Mi: set both with --pod-requests and --pod-limits
        LimitRange x/l: the least ephemeral-storage of a Container is 1Mi, and the request of a probe pod is not set: add --pod-requests ephemeral-storage=1Mi
        ");
    }

    #[test]
    fn a_namespace_gives_defaults_only_for_what_is_not_set() {
        let defaults = json!([{"type": "Container", "default": {"cpu": "8", "ephemeral-storage": "2Mi"},
            "defaultRequest": {"ephemeral-storage": "1Mi"}, "min": {"ephemeral-storage": "1Mi"},
            "max": {"ephemeral-storage": "2Mi"}}]);
        assert_eq!(found(&defaults), [""; 0]);
        let needs = Needs::new(&Resources::default(), &[range(&defaults)]);
        assert_eq!(needs.limits["cpu"].to_string(), "500m");
        assert_eq!(needs.limits["ephemeral-storage"].to_string(), "2Mi");
        assert_eq!(needs.requests["ephemeral-storage"].to_string(), "1Mi");
    }
}
