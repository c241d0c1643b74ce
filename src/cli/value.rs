//! Values of options that are not plain texts or numbers.

use std::time::Duration;

use ipnet::IpNet;

use crate::scenario::SpecRule;
use crate::snapshot::{self, Field, Identity, Problem, rules};

/// Parses `300ms`, `5s`, `2m` or `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let wrong = || format!("`{text}` is not a duration: write 300ms, 5s, 2m or 1h");
    let number: u32 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        "h" => Ok(Duration::from_secs(u64::from(number) * 3600)),
        _ => Err(wrong()),
    }
}

/// Parses a share such as `0.1%`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 10.0);
    percent.map(|percent| percent / 100.0).ok_or_else(|| {
        format!(
            "`{text}` is not a share of leaking connections: write one above 0% and up to 10%, such as 0.1%"
        )
    })
}

/// Parses a number from 1.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor >= 1.0);
    factor.ok_or_else(|| format!("`{text}` is not a factor: write a number from 1, such as 1.5"))
}

/// Parses the number of a spec rule of docs/semantics.md.
pub(super) fn spec_rule(text: &str) -> Result<SpecRule, String> {
    let number = text.parse().ok().and_then(SpecRule::new);
    number.ok_or_else(|| format!("spec rules have the numbers 1 to {}", SpecRule::all().count()))
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    let namespace = snapshot::is_namespace(text).then(|| text.to_owned());
    namespace.ok_or_else(|| "not the name of a namespace".to_owned())
}

/// Parses the name of an external, which is a DNS label.
pub(super) fn label(text: &str) -> Result<String, String> {
    let label = snapshot::is_namespace(text).then(|| text.to_owned());
    label.ok_or_else(|| format!("`{text}` is not a name: write lower-case letters, digits and hyphens"))
}

/// Parses `namespace/name`.
pub(super) fn object(text: &str) -> Result<Identity, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Identity::new(namespace, name))
        }
        Some(_) | None => Err("write it as namespace/name".to_owned()),
    }
}

/// Parses `resource=quantity`. The API server checks both.
pub(super) fn quantity(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((resource, quantity)) if !resource.is_empty() && !quantity.is_empty() => {
            Ok((resource.to_owned(), quantity.to_owned()))
        }
        Some(_) | None => Err("write it as resource=quantity, such as cpu=100m or memory=64Mi".to_owned()),
    }
}

/// Parses a range as manifests write it.
pub(super) fn cidr(text: &str) -> Result<IpNet, Problem> {
    rules::cidr(text, &Field::ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
