//! Names that a user may have meant.

/// How many names are offered at most.
const MOST: usize = 3;

/// The names that are near to one that is none of them, the nearest first.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: String = wanted.chars().filter(|c| *c != '*').collect();
    let far = 2.max(wanted.chars().count() / 3);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let distance = distance(&wanted, name);
        let is_part = wanted.len() > 2 && (name.contains(&wanted) || wanted.contains(name));
        if distance <= far || is_part {
            found.push((distance, name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(MOST).collect()
}

/// How many letters have to be added, taken away or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, letters) in [("", "", 0), ("", "abc", 3), ("deny", "dney", 2), ("ports", "port", 1)] {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters), "{a} {b}");
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
}
