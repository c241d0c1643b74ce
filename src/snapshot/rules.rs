//! Checks names, labels, ports and addresses as the API server does.
//!
//! Follows `k8s.io/apimachinery/pkg/util/validation` and `pkg/apis/core/validation`.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::field::{Field, Problem};
use crate::policy::{Labels, Port, Protocol};
use crate::source::quote;

/// Checks the name of an object. For most objects, it is a DNS subdomain.
pub(crate) fn subdomain(text: &str, field: &Field<'_>) -> Result<(), Problem> {
    let is_valid = text.len() <= 253 && text.split('.').all(is_dns_label);
    is_valid.then_some(()).ok_or_else(|| {
        field.problem(format!(
            "{} is not a valid name: use lower-case letters, digits, `-` and `.`, and begin and end with a letter or digit",
            quote(text)
        ))
    })
}

/// Checks the name of a namespace, Service or container port: a DNS label.
pub(crate) fn dns_label(text: &str, field: &Field<'_>) -> Result<(), Problem> {
    let is_valid = text.len() <= 63 && is_dns_label(text);
    is_valid.then_some(()).ok_or_else(|| {
        field.problem(format!(
            "{} is not a valid name: use at most 63 lower-case letters, digits and `-`, and begin and end with a letter or digit",
            quote(text)
        ))
    })
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
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_is_valid =
        prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    if prefix_is_valid && !name.is_empty() && is_label_name(name) {
        return Ok(());
    }
    Err(field.problem(format!(
        "{} is not a valid label key: use at most 63 letters, digits, `-`, `_` and `.`, begin and end with a letter or digit, and at most one DNS prefix before `/`",
        quote(key)
    )))
}

/// Checks the value of a label. It may be empty.
pub(crate) fn label_value(value: &str, field: &Field<'_>) -> Result<(), Problem> {
    if is_label_name(value) {
        return Ok(());
    }
    Err(field.problem(format!(
        "{} is not a valid label value: use at most 63 letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit",
        quote(value)
    )))
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
    is_valid.then_some(()).ok_or_else(|| {
        field.problem(format!(
            "{} is not a valid port name: use at most 15 lower-case letters, digits and single `-`, with at least one letter",
            quote(text)
        ))
    })
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
        let ok = |result: Result<(), Problem>| result.is_ok();
        let root = Field::ROOT;
        assert!(
            ok(dns_label("tenant-a", &root))
                && !ok(dns_label("Tenant", &root))
                && !ok(dns_label("a.b", &root))
        );
        assert!(
            ok(subdomain("a.b-c.d", &root)) && !ok(subdomain("a..b", &root)) && !ok(subdomain("", &root))
        );
        assert!(ok(label_key("example.com/My_Key.1", &root)) && ok(label_key("app", &root)));
        assert!(!ok(label_key("a/b/c", &root)) && !ok(label_key("/x", &root)) && !ok(label_key("-a", &root)));
        assert!(
            ok(label_value("", &root)) && ok(label_value("A-b_c.9", &root)) && !ok(label_value("a b", &root))
        );
        assert!(
            ok(port_name("http-80", &root)) && !ok(port_name("HTTP", &root)) && !ok(port_name("80", &root))
        );
        assert!(!ok(port_name("a--b", &root)) && !ok(port_name("sixteen-letters1", &root)));
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
