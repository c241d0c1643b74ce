//! The bounds that a deviation without a quirk must have, so that it cannot cover everything.
//!
//! A quirk covers only cells that it explains. Without a quirk, only fields of `cells` prevent a deviation from
//! excusing all denials of a run: policies, probes and a direction.

use super::file::CellsFile;
use super::model::CellPattern;
use crate::policy::{Decision, PortRange, Protocol};
use crate::scenario::ProbePattern;
use crate::source::Location;

/// Checks that cells without a quirk have bounds. `at` is their location.
///
/// # Errors
/// If a bound is missing, or stands for everything. The error is the location, and how to fix it.
pub(super) fn check(file: &CellsFile, at: Location, cells: &CellPattern) -> Result<(), (Location, String)> {
    if cells.quirk.is_some() {
        return Ok(());
    }
    let given = [
        ("policies", file.policies.is_some()),
        ("probes", file.probes.is_some()),
        ("direction", file.direction.is_some()),
    ];
    let missing: Vec<_> = given.iter().filter(|(_, is_given)| !is_given).map(|(name, _)| *name).collect();
    if cells.expected != Some(Decision::Allow) && !missing.is_empty() {
        let message = format!(
            "cells: add {}: without a quirk, cells that may be denied need policies, probes and a direction \
             (for allowed cells only, write expected: allow)",
            missing.join(", "),
        );
        return Err((at, message));
    }
    if file.policies.is_none() && file.probes.is_none() {
        let message = "cells: add probes or policies: without a quirk, allowed cells need one of them";
        return Err((at, message.to_owned()));
    }
    if let Some(policies) = &file.policies
        && cells.policies.names.iter().any(|pattern| is_every_policy(pattern))
    {
        let message = "policies: this stands for every policy: name those that are enforced differently, as \
                       NAMESPACE/NAME or KIND NAME, with * for any text";
        return Err((policies.at, message.to_owned()));
    }
    if let Some(probes) = &file.probes
        && is_every_probe(&cells.covered.probes)
    {
        let message = "probes: this stands for every probe: name those that are treated differently, such as \
                       80/TCP, UDP or DNS";
        return Err((probes.at, message.to_owned()));
    }
    Ok(())
}

/// Returns whether a pattern stands for every policy, because it names no part of a namespace, a name or a kind.
fn is_every_policy(pattern: &str) -> bool {
    !pattern.contains(|c: char| c.is_ascii_alphanumeric())
}

/// Returns whether patterns, alone or together, stand for every port of every protocol.
fn is_every_probe(patterns: &[ProbePattern]) -> bool {
    let is_whole = |pattern: &ProbePattern, protocol: Protocol| match pattern {
        ProbePattern::All => true,
        ProbePattern::Protocol(own) => *own == protocol,
        ProbePattern::Ports(range, own) => *own == protocol && *range == PortRange::ALL,
        ProbePattern::Dns(_) | ProbePattern::ByName(..) => false,
    };
    Protocol::ALL.iter().all(|protocol| patterns.iter().any(|pattern| is_whole(pattern, *protocol)))
}

#[cfg(test)]
mod tests {
    use crate::profile::load;
    use crate::source::Text;

    fn error(cells: &str) -> Option<String> {
        let content = format!(
            "apiVersion: netproof.dev/v1alpha1\nkind: Profile\nmetadata: {{name: p, description: d}}\ndeviations:\n- {{reason: r, references: u, cells: {{{cells}}}}}\n"
        );
        load(&[Text { name: "p.yaml".into(), content }]).err().map(|error| error.to_string())
    }

    #[test]
    fn a_profile_that_covers_every_denial_from_anywhere_is_refused() {
        let told = error("expected: deny, from: \"*\"").unwrap();
        insta::assert_snapshot!(told, @"p.yaml:5:37: cells: add policies, probes, direction: without a quirk, cells that may be denied need policies, probes and a direction (for allowed cells only, write expected: allow)");
    }

    #[test]
    fn what_may_cover_a_denial_names_policies_probes_and_a_direction() {
        let bounds = ["policies: x/deny", "probes: UDP", "direction: ingress"];
        for expected in ["", ", expected: deny"] {
            assert_eq!(error(&(bounds.join(", ") + expected)), None);
            for (left_out, name) in ["policies", "probes", "direction"].into_iter().enumerate() {
                let mut others = bounds.to_vec();
                others.remove(left_out);
                let told = error(&(others.join(", ") + expected)).unwrap();
                assert!(told.starts_with(&format!("p.yaml:5:37: cells: add {name}:")), "{told}");
            }
        }
        // A quirk covers only what it explains.
        assert_eq!(error("quirk: unresolved-port-name, expected: deny"), None);
    }

    #[test]
    fn what_covers_allowances_only_names_probes_or_policies() {
        for bound in ["probes: SCTP", "policies: x/*", "policies: AdminNetworkPolicy *"] {
            assert_eq!(error(&format!("expected: allow, {bound}")), None, "{bound}");
        }
        for unbounded in
            ["family: IPv4", "from: \"*\"", "direction: ingress", "scenarios: a, steps: b, family: IPv6"]
        {
            let told = error(&format!("{unbounded}, expected: allow")).unwrap();
            assert!(told.contains("cells: add probes or policies"), "{told}");
        }
    }

    #[test]
    fn no_bound_stands_for_everything() {
        for policies in ["\"*\"", "[x/deny, \"**\"]", "\"*/*\"", "\"* *\""] {
            let told = error(&format!("policies: {policies}, probes: UDP, direction: ingress")).unwrap();
            assert!(told.starts_with("p.yaml:5:48: policies: this stands for every policy"), "{told}");
        }
        for probes in ["all", "[UDP, all]", "[TCP, UDP, SCTP]", "[1-65535/TCP, UDP, SCTP]"] {
            let told = error(&format!("probes: {probes}, policies: x/deny, direction: ingress")).unwrap();
            assert!(told.starts_with("p.yaml:5:46: probes: this stands for every probe"), "{told}");
        }
        for direction in ["all", "\"*\"", "both"] {
            let told = error(&format!("direction: {direction}, policies: x/deny, probes: UDP")).unwrap();
            assert!(told.contains("is neither ingress nor egress"), "{told}");
        }
        assert!(error("policies: deny, probes: UDP").unwrap().contains("`deny` names no policy"));
    }
}
