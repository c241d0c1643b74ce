//! Faults in the directions for which policies isolate.

use k8s_openapi::api::networking::v1::NetworkPolicySpec;

use super::super::rewrite::each;
use crate::policy::Cluster;
use crate::snapshot::WrittenPolicy;

pub(super) fn omitted_types_are_both(cluster: &mut Cluster, written: &[WrittenPolicy]) {
    retype(cluster, written, |types, _| types.unwrap_or((true, true)));
}

pub(super) fn omitted_types_are_ingress(cluster: &mut Cluster, written: &[WrittenPolicy]) {
    retype(cluster, written, |types, _| types.unwrap_or((true, false)));
}

pub(super) fn omitted_types_follow_rules(cluster: &mut Cluster, written: &[WrittenPolicy]) {
    retype(cluster, written, |types, (ingress, egress)| {
        types.unwrap_or((has_rules(ingress) || !has_rules(egress), has_rules(egress)))
    });
}

pub(super) fn types_ignored(cluster: &mut Cluster, written: &[WrittenPolicy]) {
    retype(cluster, written, |types, (ingress, egress)| {
        let (for_ingress, for_egress) = types.unwrap_or((true, false));
        (for_ingress || has_rules(ingress), for_egress || has_rules(egress))
    });
}

pub(super) fn no_ingress_rules_ignored(cluster: &mut Cluster) {
    each(cluster, |policy| {
        policy.ingress.take_if(|rules| rules.is_empty());
    });
}

pub(super) fn no_egress_rules_ignored(cluster: &mut Cluster) {
    each(cluster, |policy| {
        policy.egress.take_if(|rules| rules.is_empty());
    });
}

/// Directions of a policy: ingress, then egress.
type Directions = (bool, bool);

/// Changes the directions for which each policy isolates. `directions` decides, based on the directions in
/// `policyTypes`, if there are any, and on the numbers of rules.
fn retype(
    cluster: &mut Cluster,
    written: &[WrittenPolicy],
    directions: impl Fn(Option<Directions>, (Option<usize>, Option<usize>)) -> Directions,
) {
    let retyped = written.iter().filter_map(|written| {
        let mut object = (*written.object).clone();
        let spec: &mut NetworkPolicySpec = object.spec.get_or_insert_default();
        let names = |name: &str| spec.policy_types.iter().flatten().any(|of_policy| of_policy == name);
        let types = (names("Ingress"), names("Egress"));
        let types = (types != (false, false)).then_some(types);
        let counts = (spec.ingress.as_ref().map(Vec::len), spec.egress.as_ref().map(Vec::len));
        let (ingress, egress) = directions(types, counts);
        let taken = [("Ingress", ingress), ("Egress", egress)];
        let taken = taken.into_iter().filter(|(_, is_taken)| *is_taken);
        spec.policy_types = Some(taken.map(|(name, _)| name.to_owned()).collect());
        // The policy was converted without errors before, so it can be converted again.
        WrittenPolicy::new(object).ok().map(|written| written.policy)
    });
    cluster.policies = retyped.collect();
}

fn has_rules(rules: Option<usize>) -> bool {
    rules.is_some_and(|count| count > 0)
}
