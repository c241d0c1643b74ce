//! Checks names, labels, ports and addresses as the API server does.
//!
//! Follows `k8s.io/apimachinery/pkg/util/validation` and `pkg/apis/core/validation`.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::field::{Field, Problem};
use crate::policy::{Labels, Port, Protocol};
use crate::source::quote;

/// Refuses a text that is not valid. `what` says what it should be.
fn check(is_valid: bool, text: &str, what: &str, field: &Field<'_>) -> Result<(), Problem> {
    if is_valid { Ok(()) } else { Err(field.problem(format!("{} is not {what}", quote(text)))) }
}

/// Checks the name of an object. For most objects, it is a DNS subdomain.
pub(crate) fn subdomain(text: &str, field: &Field<'_>) -> Result<(), Problem> {
    let what =
        "a valid name: use lower-case letters, digits, `-` and `.`, and begin and end with a letter or digit";
    check(is_subdomain(text), text, what, field)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Checks the name of a namespace, Service or container port: a DNS label.
pub(crate) fn dns_label(text: &str, field: &Field<'_>) -> Result<(), Problem> {
    let what = "a valid name: use at most 63 lower-case letters, digits and `-`, and begin and end with a letter or digit";
    check(text.len() <= 63 && is_dns_label(text), text, what, field)
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Checks all keys and values of labels.
pub(crate) fn labels(labels: &Labels, field: &Field<'_>) -> Result<(), Problem> {
    for (key, value) in labels {
        label_key(key, field)?;
        label_value(value, &field.field(key))?;
    }
    Ok(())
}

/// Checks the key of a label: a qualified name, `prefix/name`.
pub(crate) fn label_key(key: &str, field: &Field<'_>) -> Result<(), Problem> {
    let what = "a valid label key: use at most 63 letters, digits, `-`, `_` and `.`, begin and end with a letter or digit, and at most one DNS prefix before `/`";
    check(is_qualified_name(key), key, what, field)
}

/// Checks the key of an annotation: a qualified name in any case.
pub(crate) fn annotation_key(key: &str, field: &Field<'_>) -> Result<(), Problem> {
    let what = "a valid annotation key: use at most 63 letters, digits, `-`, `_` and `.`, begin and end with a letter or digit, and at most one DNS prefix before `/`";
    check(is_qualified_name(&key.to_ascii_lowercase()), key, what, field)
}

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_name(name)
}

/// Checks the value of a label. It may be empty.
pub(crate) fn label_value(value: &str, field: &Field<'_>) -> Result<(), Problem> {
    let what = "a valid label value: use at most 63 letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit";
    check(is_label_name(value), value, what, field)
}

fn is_label_name(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.chars().all(|c| ends(c) || matches!(c, '-' | '_' | '.'))
            && text.starts_with(ends)
            && text.ends_with(ends))
}

/// Checks the name of a port: an IANA service name.
pub(crate) fn port_name(text: &str, field: &Field<'_>) -> Result<(), Problem> {
    let is_valid = text.len() <= 15
        && is_dns_label(text)
        && !text.contains("--")
        && text.contains(|c: char| c.is_ascii_lowercase());
    let what = "a valid port name: use at most 15 lower-case letters, digits and single `-`, with at least one letter";
    check(is_valid, text, what, field)
}

/// Converts a port number.
pub(crate) fn port_number(number: i32, field: &Field<'_>) -> Result<Port, Problem> {
    let port = u16::try_from(number).ok().and_then(Port::new);
    port.ok_or_else(|| field.problem(format!("must be between 1 and 65535, found {number}")))
}

/// A port that is a number or a name.
pub(crate) enum NumberOrName {
    Number(Port),
    Name(String),
}

/// Converts a port that is a number or a name.
pub(crate) fn port(port: &IntOrString, field: &Field<'_>) -> Result<NumberOrName, Problem> {
    match port {
        IntOrString::Int(number) => port_number(*number, field).map(NumberOrName::Number),
        IntOrString::String(name) => {
            if name.parse::<i64>().is_ok() {
                return Err(
                    field.problem(format!("{} is a string: write the number without quotes", quote(name)))
                );
            }
            port_name(name, field)?;
            Ok(NumberOrName::Name(name.clone()))
        }
    }
}

/// Parses a protocol. It is TCP if omitted.
pub(crate) fn protocol(text: Option<&str>, field: &Field<'_>) -> Result<Protocol, Problem> {
    let Some(text) = text else { return Ok(Protocol::Tcp) };
    text.parse().map_err(|()| field.problem(format!("{} is not one of TCP, UDP and SCTP", quote(text))))
}

pub(crate) fn address(text: &str, field: &Field<'_>) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| field.problem(format!("{} is not an IP address", quote(text))))
}

/// Parses an address range in CIDR notation.
pub(crate) fn cidr(text: &str, field: &Field<'_>) -> Result<IpNet, Problem> {
    // The address is parsed separately, which refuses leading zeros: some programs read such numbers as octal.
    let net = text.split_once('/').and_then(|(address, prefix)| {
        let is_number = prefix.bytes().all(|b| b.is_ascii_digit());
        IpNet::new(address.parse().ok()?, prefix.parse().ok().filter(|_| is_number)?).ok()
    });
    let net = net.ok_or_else(|| {
        field.problem(format!("{} is not an address range such as 10.0.0.0/8", quote(text)))
    })?;
    match net.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Err(field.problem(format!("{} hides an IPv4 range in IPv6: write it as IPv4", quote(text))))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_api_server() {
        let root = Field::ROOT;
        type Check = fn(&str, &Field<'_>) -> Result<(), Problem>;
        let cases: [(Check, &[&str], &[&str]); 5] = [
            (dns_label, &["tenant-a"], &["Tenant", "a.b"]),
            (subdomain, &["a.b-c.d"], &["a..b", ""]),
            (label_key, &["example.com/My_Key.1", "app"], &["a/b/c", "/x", "-a"]),
            (label_value, &["", "A-b_c.9"], &["a b"]),
            (port_name, &["http-80"], &["HTTP", "80", "a--b", "sixteen-letters1"]),
        ];
        for (check, valid, invalid) in cases {
            valid.iter().for_each(|text| assert!(check(text, &root).is_ok(), "{text}"));
            invalid.iter().for_each(|text| assert!(check(text, &root).is_err(), "{text}"));
        }
    }

    #[test]
    fn ranges_follow_the_api_server() {
        let root = Field::ROOT;
        assert!(cidr("10.0.0.5/8", &root).is_ok() && cidr("2001:db8::/32", &root).is_ok());
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "010.0.0.0/8", "::ffff:10.0.0.0/104", "x"] {
            assert!(cidr(bad, &root).is_err(), "{bad}");
        }
    }
}
