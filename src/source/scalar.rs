//! The meaning of unquoted scalars.
//!
//! Follows `kubectl` (`resolve.go` of go.yaml.in/yaml/v2: YAML 1.1 with its booleans and octal numbers). In
//! netproof's own formats, the single letters `y` and `n` stay strings, because they are used as names.

use std::borrow::Cow;

use super::node::{Value, quote};
use super::syntax::{Dialect, SyntaxProblem};

/// Returns the value of a plain (unquoted) scalar.
pub(super) fn resolve(text: &str, dialect: Dialect) -> Value {
    match (text, dialect) {
        ("" | "~" | "null" | "Null" | "NULL", _) => return Value::Null,
        ("true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON", _)
        | ("y" | "Y", Dialect::Kubectl) => return Value::Bool(true),
        ("false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF", _)
        | ("n" | "N", Dialect::Kubectl) => return Value::Bool(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    // Text that begins like a number but is none stays a string: `10.0.0.0/8`, `1.2.3`, `-`, `80a`.
    number(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Returns the value of a scalar with one of YAML's own tags, or `None` if there is no such tag for scalars.
pub(super) fn tagged(
    text: Cow<'_, str>,
    tag: &str,
    dialect: Dialect,
) -> Option<Result<Value, SyntaxProblem>> {
    let resolved = || resolve(&text, dialect);
    let value = match (tag, resolved()) {
        ("str" | "timestamp", _) => Value::String(text.into_owned()),
        ("binary", _) => return Some(binary(&text)),
        // Large integers lose precision. They do in `kubectl`, too.
        ("float", Value::Integer(value)) => Value::Float(value as f64),
        ("int", value @ Value::Integer(_))
        | ("float", value @ Value::Float(_))
        | ("bool", value @ Value::Bool(_))
        | ("null", value @ Value::Null) => value,
        ("int" | "float" | "bool" | "null", _) => return Some(Err(not_of_tag(&text, tag))),
        _ => return None,
    };
    Some(Ok(value))
}

fn binary(text: &str) -> Result<Value, SyntaxProblem> {
    let bytes = base64(text).ok_or_else(|| not_of_tag(text, "base64"))?;
    Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}

fn not_of_tag(text: &str, tag: &str) -> SyntaxProblem {
    SyntaxProblem::refused(format!("{} is no {tag}", quote(text)))
}

/// Decodes base64 with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut chunks = text.chunks(4).peekable();
    while let Some(chunk) = chunks.next() {
        let padding = chunk.iter().rev().take_while(|byte| **byte == b'=').count();
        if chunk.len() < 4 || padding > 2 || (padding > 0 && chunks.peek().is_some()) {
            return None;
        }
        let digits = chunk.iter().take(4 - padding).map(|byte| base64_digit(*byte));
        let bits = digits
            .chain(std::iter::repeat_n(Some(0), padding))
            .try_fold(0, |bits, digit| Some(bits << 6 | u32::from(digit?)))?;
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.iter().take(3 - padding));
    }
    Some(bytes)
}

fn base64_digit(byte: u8) -> Option<u8> {
    let mut digits = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain([b'+', b'/']);
    digits.position(|digit| digit == byte).and_then(|at| u8::try_from(at).ok())
}

fn number(text: &str) -> Option<Value> {
    match text.trim_start_matches(['-', '+']) {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(Value::Float(f64::NEG_INFINITY)),
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if text.starts_with('.') => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    // A float that begins with `.` must not contain underscores.
    let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    integer(&plain).or_else(|| float(&plain))
}

fn integer(text: &str) -> Option<Value> {
    // `kubectl` passes the text after `0b` to `strconv.ParseInt`, which accepts a sign there.
    if let Some(signed) = text.strip_prefix("0b").filter(|digits| digits.starts_with(['-', '+'])) {
        return i64::from_str_radix(signed, 2).ok().map(Value::Integer);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, unsigned.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, unsigned.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, unsigned.get(2..)?),
        [b'0', _, ..] => (8, unsigned.get(1..)?),
        _ => (10, unsigned),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    match i64::try_from(value) {
        Ok(value) => Some(Value::Integer(value)),
        // Unsigned 64-bit integers become floats here. `float` reads larger numbers.
        Err(_) => u64::try_from(value).ok().map(|value| Value::Float(value as f64)),
    }
}

/// Parses a float, as `yamlStyleFloat` defines it: with digits on at least one side of the point.
fn float(text: &str) -> Option<Value> {
    let is_numeric = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    // Rust's parser also accepts words such as `inf`. YAML writes `.inf`.
    let is_float = is_numeric && mantissa.contains(|c: char| c.is_ascii_digit());
    let value = if is_float { text.parse().ok() } else { None };
    // A number that is too large for a float is a string.
    value.filter(|value: &f64| value.is_finite()).map(Value::Float)
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
            ("1_000.5", Value::Float(1000.5)),
            ("0X1f", Value::Integer(31)),
            ("0xFFFFFFFFFFFFFFFF", Value::Float(18_446_744_073_709_551_615.0)),
            ("-0b101", Value::Integer(-5)),
            ("0b-1", Value::Integer(-1)),
            ("0b+1", Value::Integer(1)),
            ("-0b-1", Value::String("-0b-1".into())),
            ("0B-1", Value::String("0B-1".into())),
            ("--1", Value::String("--1".into())),
            ("1e", Value::String("1e".into())),
            ("1e400", Value::String("1e400".into())),
            ("+.inf", Value::Float(f64::INFINITY)),
            ("-.nan", Value::String("-.nan".into())),
            ("2024-01-01", Value::String("2024-01-01".into())),
        ];
        for (text, value) in cases {
            assert_eq!(resolve(text, Dialect::Own), value, "{text}");
        }
    }

    #[test]
    fn base64_is_decoded_or_refused() {
        for (text, decoded) in [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj\nZA==\n", "abcd")] {
            assert_eq!(base64(text).as_deref(), Some(decoded.as_bytes()), "{text}");
        }
        for text in ["Y", "YQ", "YQ=", "Y===", "YQ==YQ==", "Y Q=", "YQ=x", "é=="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
