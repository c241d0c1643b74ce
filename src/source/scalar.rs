//! What an unquoted word means.
//!
//! As `kubectl` reads YAML (version 1.1 with its booleans and octal numbers), with one exception:
//! the single letters `y` and `n` stay strings, because they are used as names.

use super::node::Value;

/// The value of a plain (unquoted) scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    integer(text).map(Value::Integer).or_else(|| float(text).map(Value::Float)).unwrap_or_else(|| {
        // Neither: `10.0.0.0/8`, `1.2.3`, `-`, `80a`.
        Value::String(text.to_owned())
    })
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, digits.get(2..)?),
        [b'0', b'b', ..] => (2, digits.get(2..)?),
        [b'0', b'o', ..] => (8, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    if negative { value.checked_neg() } else { Some(value) }
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // Rust's own parser also takes words such as `inf`; YAML writes `.inf`.
    let numeric = unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.contains(|c: char| c.is_ascii_digit());
    if numeric {
        return text.parse().ok();
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_mean_what_kubectl_takes_them_for() {
        let cases = [
            ("80", Value::Integer(80)),
            ("0644", Value::Integer(0o644)),
            ("0x1F", Value::Integer(31)),
            ("1_000", Value::Integer(1000)),
            ("-1", Value::Integer(-1)),
            ("1.0", Value::Float(1.0)),
            ("1e3", Value::Float(1000.0)),
            ("089", Value::Float(89.0)),
            ("yes", Value::Bool(true)),
            ("off", Value::Bool(false)),
            ("~", Value::Null),
            ("y", Value::String("y".into())),
            ("n", Value::String("n".into())),
            ("10.0.0.0/8", Value::String("10.0.0.0/8".into())),
            ("1.2.3", Value::String("1.2.3".into())),
            ("-", Value::String("-".into())),
            ("80/TCP", Value::String("80/TCP".into())),
            ("2001:db8::/32", Value::String("2001:db8::/32".into())),
            ("9223372036854775808", Value::Float(9_223_372_036_854_775_808.0)),
            ("inf", Value::String("inf".into())),
        ];
        for (text, value) in cases {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
