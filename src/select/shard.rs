//! A shard: one of several parts of all scenarios, so that several machines can share a run.

use std::fmt;
use std::str::FromStr;

/// Shard `number` of `of`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    number: usize,
    of: usize,
}

/// A text that is not a shard, and how to write one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a shard: {1}")]
pub(crate) struct NotAShard(String, &'static str);

impl FromStr for Shard {
    type Err = NotAShard;

    /// Parses a shard such as `2/4`.
    fn from_str(text: &str) -> Result<Self, NotAShard> {
        let wrong = || NotAShard(text.to_owned(), "write 2/4 for the second of four");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let read = |text: &str| if text.starts_with('+') { None } else { text.parse::<usize>().ok() };
        match (read(number), read(of)) {
            (Some(number), Some(of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            (Some(_), Some(_)) => {
                Err(NotAShard(text.to_owned(), "the first number is between 1 and the second"))
            }
            (Some(_) | None, _) => Err(wrong()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Returns, for each thing, whether it is in this shard. A thing is a name and a cost. Each thing is in exactly
    /// one shard, which does not depend on the order of the things. All shards have about the same cost.
    pub(crate) fn holds(self, things: &[(&str, usize)]) -> Vec<bool> {
        let mut dearest_first: Vec<_> = things.iter().enumerate().collect();
        dearest_first.sort_by(|(_, (name, cost)), (_, (other, price))| price.cmp(cost).then(name.cmp(other)));
        // If there are more shards than things, the last shards are empty.
        let mut loads = vec![0; self.of.min(things.len())];
        let mut holds = vec![false; things.len()];
        for (place, (_, cost)) in dearest_first {
            let Some((least, load)) = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load) else {
                continue;
            };
            // Things with a cost of 0 are distributed, too.
            *load += (*cost).max(1);
            if let Some(holds) = holds.get_mut(place) {
                *holds = least + 1 == self.number;
            }
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shards_are_written_as_fractions() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for text in ["", "2", "0/4", "5/4", "2/0", "-1/4", "+1/4", "1/+4", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    fn things() -> impl Strategy<Value = Vec<(String, usize)>> {
        prop::collection::btree_map("[a-z]{1,6}", 0usize..5_000, 0..40)
            .prop_map(|things| things.into_iter().collect())
    }

    fn names(of: usize, things: &[(String, usize)]) -> Vec<Vec<&str>> {
        let borrowed: Vec<_> = things.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
        let shard = |number| {
            let holds = Shard { number, of }.holds(&borrowed);
            let held = borrowed.iter().zip(holds).filter(|(_, holds)| *holds);
            let mut names: Vec<_> = held.map(|((name, _), _)| *name).collect();
            names.sort_unstable();
            names
        };
        (1..=of).map(shard).collect()
    }

    proptest! {
        #[test]
        fn everything_is_in_exactly_one_shard(things in things(), of in 1usize..9) {
            let mut together = names(of, &things).concat();
            together.sort_unstable();
            // The names are ascending and unique.
            let all: Vec<_> = things.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(together, all);
        }

        #[test]
        fn the_order_of_files_does_not_matter(things in things().prop_shuffle(), of in 1usize..9) {
            let mut ordered = things.clone();
            ordered.sort();
            prop_assert_eq!(names(of, &things), names(of, &ordered));
        }

        #[test]
        fn no_shard_costs_more_than_another_by_more_than_one_thing(things in things(), of in 1usize..9) {
            let cost = |name: &&str| things.iter().find(|(n, _)| n == name).map_or(0, |(_, cost)| (*cost).max(1));
            let costs: Vec<usize> = names(of, &things).iter().map(|names| names.iter().map(cost).sum()).collect();
            let dearest = things.iter().map(|(_, cost)| (*cost).max(1)).max().unwrap_or_default();
            let (most, least) = (costs.iter().max().unwrap(), costs.iter().min().unwrap());
            prop_assert!(most - least <= dearest, "{:?}", costs);
        }
    }
}
