//! Finds the names that a user may have meant.

use strsim::levenshtein;

/// Maximum number of names that are returned.
const MOST: usize = 3;

/// Length of the longest text that is compared, in characters. Names in Kubernetes are shorter. A text of a file may
/// be megabytes long.
const LONGEST: usize = 400;

/// Returns the names that are similar to an unknown name, the most similar first.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut steps = usize::MAX;
    near_within(wanted, names, &mut steps)
}

/// Returns the end of a message that suggests similar names. Empty if there are none.
pub fn did_you_mean(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// Returns the same as [`near`], but stops when `steps` is used up. Subtracts the steps that it took. A step looks at
/// one name, or compares two letters.
pub fn near_within<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
    steps: &mut usize,
) -> Vec<&'a str> {
    let wanted: String = wanted.chars().filter(|c| *c != '*').collect();
    let length = wanted.chars().count();
    let far = 2.max(length / 3);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let other = name.chars().count();
        let is_part = wanted.len() > 2 && (name.contains(&wanted) || wanted.contains(name));
        // The distance is at least the difference in length.
        let is_far = length.max(other) > LONGEST || (length.abs_diff(other) > far && !is_part);
        let needed = if is_far { 1 } else { 1 + length * other };
        let Some(left) = steps.checked_sub(needed) else { break };
        *steps = left;
        if is_far {
            continue;
        }
        let distance = levenshtein(&wanted, name);
        if distance <= far || is_part {
            found.push((distance, name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(MOST).collect()
}

/// Returns the name that a user may have misspelt, if one is similar enough. Unlike [`near`], it ignores names that
/// only have a part in common.
pub fn misspelt<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    if length > LONGEST {
        return None;
    }
    let with_distance = names.into_iter().map(|name| (levenshtein(written, name), name));
    let is_near = |(distance, name): &(usize, &str)| {
        *distance <= 2.max(length / 3) && *distance < length.min(name.chars().count())
    };
    with_distance.filter(is_near).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_not_compared() {
        let long = "a".repeat(1_000_000);
        let other = format!("{long}b");
        assert_eq!(near(&long, [other.as_str(), &long]), [""; 0]);
        assert_eq!(misspelt(&long, [other.as_str()]), None);
        assert_eq!(near(&long[..LONGEST], [&long[1..LONGEST]]).len(), 1);
    }

    #[test]
    fn a_misspelt_name_differs_in_few_letters() {
        let names = ["from", "ports", "to", "matchLabels", "matchExpressions"];
        for (written, name) in [
            ("form", Some("from")),
            ("From", Some("from")),
            ("port", Some("ports")),
            ("matchLabel", Some("matchLabels")),
            ("matchExpression", Some("matchExpressions")),
            ("on", None),
            ("toFQDNs", None),
            ("newField", None),
            ("", None),
        ] {
            assert_eq!(misspelt(written, names), name, "{written}");
        }
    }

    #[test]
    fn the_nearest_names_come_first() {
        let names = ["default-deny", "conformance-default-deny", "services", "selectors"];
        assert_eq!(near("defualt-deny", names), ["default-deny"]);
        assert_eq!(near("deny*", names), ["default-deny", "conformance-default-deny"]);
        assert_eq!(near("service", names), ["services", "selectors"][..1]);
        assert_eq!(near("nothing-like-it", names), [""; 0]);
    }

    #[test]
    fn names_of_other_lengths_take_one_step_and_the_search_ends_with_the_steps() {
        let names = ["ab", "abcdefghijkl", "abd", "abe"];
        let mut steps = 100;
        assert_eq!(near_within("abc", names, &mut steps), ["ab", "abd", "abe"]);
        assert_eq!(steps, 100 - (1 + 6) - (1 + 36) - 2 * (1 + 9));
        let mut steps = 20;
        assert_eq!(near_within("xyz", ["xyzzyxyzzyx", "x"], &mut steps), [""; 0]);
        assert_eq!(near_within("abcd", ["1", "abcdefghij"], &mut 1_000), ["abcdefghij"]);
        let mut steps = 2;
        assert_eq!(near_within("abc", ["unlike-it", "abd"], &mut steps), [""; 0]);
        assert_eq!(steps, 1);
    }
}
