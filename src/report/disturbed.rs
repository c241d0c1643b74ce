//! Results of random scenarios that were disturbed on purpose (`netproof fuzz --interfere`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::plain;
use crate::document::Tally;

/// Returns a paragraph for each kind of interference.
pub fn disturbed(tallies: &BTreeMap<&str, Tally>) -> String {
    let mut text = String::new();
    for (name, tally) in tallies {
        let Tally { scenarios, passed, failed, inconclusive, broken, leaking, .. } = tally;
        let Tally { false_leaks, hidden_leaks, hidden_cells, dead_proofs, suspicious, .. } = tally;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name}: {scenarios} scenarios, {passed} passed, {failed} failed, {inconclusive} inconclusive, {broken} broken off\n  \
             false leaks: {false_leaks}\n  passes of the {leaking} that leak: {hidden_leaks}\n  cells that leak and match: {hidden_cells}\n  \
             denials proved over a dead path: {dead_proofs}"
        );
        for (seed, found) in suspicious {
            let _ = writeln!(text, "  seed {seed}:");
            for found in found {
                let _ = writeln!(text, "    {}", plain(found));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_counted_with_their_seeds() {
        let tally = || Tally { scenarios: 3, passed: 2, failed: 1, ..Tally::default() };
        let wrong = Tally {
            leaking: 1,
            hidden_leaks: 1,
            suspicious: [(
                7,
                vec!["step 1: a/b → c/d TCP 80 over IPv4 leaks, and the scenario passes".to_owned()],
            )]
            .into(),
            ..tally()
        };
        insta::assert_snapshot!(disturbed(&BTreeMap::from([("delay", tally()), ("path-dies", wrong)])), @r"
        delay: 3 scenarios, 2 passed, 1 failed, 0 inconclusive, 0 broken off
          false leaks: 0
          passes of the 0 that leak: 0
          cells that leak and match: 0
          denials proved over a dead path: 0
        path-dies: 3 scenarios, 2 passed, 1 failed, 0 inconclusive, 0 broken off
          false leaks: 0
          passes of the 1 that leak: 1
          cells that leak and match: 0
          denials proved over a dead path: 0
          seed 7:
            step 1: a/b → c/d TCP 80 over IPv4 leaks, and the scenario passes
        ");
    }
}
