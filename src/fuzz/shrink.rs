//! Makes a scenario smaller, as long as it still shows something.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::edit::smaller;

/// Limits for shrinking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Maximum number of scenarios that are run.
    pub(super) tries: usize,
    /// Maximum time.
    pub(super) time: Duration,
    /// Number of scenarios that run at the same time.
    pub(super) at_once: usize,
}

/// A scenario that was made smaller.
#[derive(Debug)]
pub(super) struct Shrunk {
    pub(super) scenario: Value,
    /// Whether nothing more can be left out of it.
    pub(super) is_minimal: bool,
    /// Number of scenarios that were run for it.
    pub(super) tries: usize,
}

/// Leaves out every part of a scenario that it does not need. `is_plausible` quickly says whether a scenario may show
/// what is wanted. `shows` runs some scenarios and says which of them do.
pub(super) async fn shrink(
    mut scenario: Value,
    budget: Budget,
    is_plausible: impl Fn(&Value) -> bool,
    shows: impl AsyncFn(&[Value]) -> Vec<bool>,
) -> Shrunk {
    let start = Instant::now();
    let (mut tries, mut at, mut is_smaller) = (0, 0, false);
    let mut pieces = smaller(&scenario);
    loop {
        let plausible = pieces.iter().enumerate().skip(at).filter(|(_, piece)| is_plausible(piece));
        let (places, group): (Vec<_>, Vec<_>) =
            plausible.take(budget.at_once.max(1)).map(|(place, piece)| (place, piece.clone())).unzip();
        if group.is_empty() {
            if !is_smaller {
                return Shrunk { scenario, is_minimal: true, tries };
            }
            // A piece that was needed before may not be needed now.
            (at, is_smaller) = (0, false);
            continue;
        }
        if tries >= budget.tries || start.elapsed() >= budget.time {
            return Shrunk { scenario, is_minimal: false, tries };
        }
        tries += group.len();
        let shown = shows(&group).await;
        let found = places.iter().zip(group).zip(shown).find(|(_, shows)| *shows);
        match found {
            Some(((place, smaller_one), _)) => {
                // The piece at this index is removed, and the next piece has moved up.
                (scenario, at, is_smaller) = (smaller_one, *place, true);
                pieces = smaller(&scenario);
            }
            None => at = places.last().map_or(pieces.len(), |last| last + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BUDGET: Budget = Budget { tries: 1_000, time: Duration::from_secs(60), at_once: 3 };

    fn scenario() -> Value {
        json!({
            "topology": {"namespaces": [
                {"name": "x", "pods": [{"name": "a", "labels": {"k": "v"}}, {"name": "b"}]}, {"name": "y"},
            ]},
            "probes": ["80/TCP", "81/TCP", "80/UDP"],
            "steps": [{"name": "1", "apply": []}, {"name": "2"}],
        })
    }

    #[tokio::test]
    async fn what_is_needed_stays_and_nothing_else() {
        let needs_both = |value: &Value| {
            let text = value.to_string();
            text.contains("\"name\":\"b\"") && text.contains("80/UDP")
        };
        let shows = async |group: &[Value]| group.iter().map(needs_both).collect();
        let shrunk = shrink(scenario(), BUDGET, |_| true, shows).await;
        assert!(shrunk.is_minimal);
        let expected = json!({
            "topology": {"namespaces": [{"pods": [{"name": "b"}]}]},
            "probes": ["80/UDP"],
            "steps": [{}],
        });
        assert_eq!(shrunk.scenario, expected);
    }

    #[tokio::test]
    async fn it_ends_when_its_tries_are_used_up() {
        let budget = Budget { tries: 4, ..BUDGET };
        let shrunk =
            shrink(scenario(), budget, |_| true, async |group: &[Value]| vec![false; group.len()]).await;
        assert_eq!((shrunk.is_minimal, shrunk.scenario), (false, scenario()));
        assert!((4..7).contains(&shrunk.tries), "{}", shrunk.tries);
    }

    #[tokio::test]
    async fn what_is_not_plausible_is_not_tried() {
        let shrunk = shrink(scenario(), BUDGET, |_| false, async |_: &[Value]| Vec::new()).await;
        assert_eq!((shrunk.is_minimal, shrunk.tries), (true, 0));
    }
}
