//! Deviations in the directions for which policies isolate.

use k8s_openapi::api::networking::v1::NetworkPolicySpec;

use super::Effect::{Meaning, WrittenMeaning};
use super::rewrite::each;
use super::{Deviation, misread, wrong};

pub(super) const TABLE: &[Deviation] = &[
    wrong("omitted-types-are-both", &[2])
        .says(
            "a policy without policyTypes isolates in both directions: pods with an ingress policy \
             cannot send any more",
        )
        .by(WrittenMeaning(|spec| retype(spec, |types, _| types.unwrap_or((true, true))))),
    wrong("omitted-types-are-ingress", &[2])
        .says("a policy without policyTypes isolates for ingress only: its egress rules restrict nothing")
        .by(WrittenMeaning(|spec| retype(spec, |types, _| types.unwrap_or((true, false))))),
    wrong("omitted-types-follow-rules", &[2])
        .says(
            "a policy without policyTypes isolates in the directions that have rules: one with egress \
             rules alone lets everything in",
        )
        .by(WrittenMeaning(|spec| {
            retype(spec, |types, (ingress, egress)| types.unwrap_or((ingress || !egress, egress)))
        })),
    wrong("types-ignored", &[3]).says("rules of a direction that policyTypes does not name are in force").by(
        WrittenMeaning(|spec| {
            retype(spec, |types, (ingress, egress)| {
                let (for_ingress, for_egress) = types.unwrap_or((true, false));
                (for_ingress || ingress, for_egress || egress)
            })
        }),
    ),
    wrong("no-ingress-rules-ignored", &[4])
        .says("a default-deny for ingress has no rules, and so does nothing")
        .by(Meaning(|cluster| {
            each(cluster, |policy| drop(policy.ingress.take_if(|rules| rules.is_empty())));
        })),
    wrong("no-egress-rules-ignored", &[4])
        .says("a default-deny without egress rules does not isolate for egress")
        .by(Meaning(|cluster| each(cluster, |policy| drop(policy.egress.take_if(|rules| rules.is_empty()))))),
    misread("isolated-in-both-directions", &[1])
        .says("a pod that a policy isolates for one direction is isolated for both")
        .by(Meaning(|cluster| {
            each(cluster, |policy| {
                policy.ingress.get_or_insert_default();
                policy.egress.get_or_insert_default();
            });
        })),
];

/// Values for ingress and for egress.
type Directions = (bool, bool);

/// Changes the directions for which a policy isolates, and leaves it in force. `directions` decides, based on the
/// directions in `policyTypes`, if there are any, and on the directions that have rules.
fn retype(
    spec: &mut NetworkPolicySpec,
    directions: impl Fn(Option<Directions>, Directions) -> Directions,
) -> bool {
    let names = |name: &str| spec.policy_types.iter().flatten().any(|of_policy| of_policy == name);
    let types = (names("Ingress"), names("Egress"));
    let has_ingress = spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty());
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let types = (types != (false, false)).then_some(types);
    let (ingress, egress) = directions(types, (has_ingress, has_egress));
    let taken = [("Ingress", ingress), ("Egress", egress)];
    let taken = taken.into_iter().filter(|(_, is_taken)| *is_taken);
    spec.policy_types = Some(taken.map(|(name, _)| name.to_owned()).collect());
    true
}
