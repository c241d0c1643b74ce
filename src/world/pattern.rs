//! Patterns that match endpoints.

use std::fmt;

use super::endpoint::EndpointName;
use super::error::ParseError;

/// A pattern that matches endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointPattern {
    /// `*`: every endpoint.
    Any,
    /// `namespace/name`: pods. `*` in either part stands for any text.
    Pod(String, String),
    /// `service:namespace/name`
    Service(String, String),
    /// `node:name`
    Node(String),
    /// `external:name`
    External(String),
}

impl EndpointPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If the text has none of the valid forms. The message lists them.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let unknown = || ParseError::Endpoint(text.to_owned());
        let pair = |text: &str| match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(((*namespace).to_owned(), (*name).to_owned()))
            }
            _ => Err(unknown()),
        };
        match text.split_once(':') {
            None if text == "*" => Ok(Self::Any),
            None => pair(text).map(|(namespace, name)| Self::Pod(namespace, name)),
            Some(("service", rest)) => pair(rest).map(|(namespace, name)| Self::Service(namespace, name)),
            Some(("node", rest)) if !rest.is_empty() => Ok(Self::Node(rest.to_owned())),
            Some(("external", rest)) if !rest.is_empty() => Ok(Self::External(rest.to_owned())),
            Some(_) => Err(unknown()),
        }
    }

    /// Reads the name of one endpoint, in the form in which it is displayed.
    ///
    /// # Errors
    /// If the text has none of the valid forms, or matches several endpoints.
    pub(super) fn parse_name(text: &str) -> Result<EndpointName, ParseError> {
        let several = || ParseError::SeveralEndpoints(text.to_owned());
        let pattern = Self::parse(text)?;
        if text.contains('*') {
            return Err(several());
        }
        match pattern {
            Self::Any => Err(several()),
            Self::Pod(namespace, name) => Ok(EndpointName::Pod { namespace, name }),
            Self::Service(namespace, name) => Ok(EndpointName::Service { namespace, name }),
            Self::Node(name) => Ok(EndpointName::Node(name)),
            Self::External(name) => Ok(EndpointName::External(name)),
        }
    }

    /// Returns whether the pattern matches this endpoint.
    pub fn matches(&self, endpoint: &EndpointName) -> bool {
        match (self, endpoint) {
            (Self::Any, _) => true,
            (Self::Pod(in_namespace, called), EndpointName::Pod { namespace, name })
            | (Self::Service(in_namespace, called), EndpointName::Service { namespace, name }) => {
                wildcard(in_namespace, namespace) && wildcard(called, name)
            }
            (Self::Node(called), EndpointName::Node(name))
            | (Self::External(called), EndpointName::External(name)) => wildcard(called, name),
            (Self::Pod(..) | Self::Service(..) | Self::Node(_) | Self::External(_), _) => false,
        }
    }
}

/// The pattern as scenarios write it.
impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Pod(namespace, name) => write!(f, "{namespace}/{name}"),
            Self::Service(namespace, name) => write!(f, "service:{namespace}/{name}"),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::External(name) => write!(f, "external:{name}"),
        }
    }
}

/// Returns whether `text` matches `pattern`, in which `*` stands for any text.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The leftmost match leaves the most text to the remaining parts.
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for text in ["x/a", "service:x/web", "node:node-1", "external:internet"] {
            assert_eq!(EndpointPattern::parse_name(text).unwrap().to_string(), text);
        }
        for text in ["*", "x/*", "service:*/web", "node:*", "a", ""] {
            assert!(EndpointPattern::parse_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_text() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*b", "ab", true),
            ("a*b", "acb", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*a", "a", false),
            ("tenant-*-prod", "tenant-a-prod", true),
            ("tenant-*-prod", "tenant-a-dev", false),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_stands_for_endpoints_of_its_kind() {
        let pods = EndpointPattern::parse("x/*").unwrap();
        assert!(pods.matches(&EndpointName::pod("x", "a")));
        assert!(!pods.matches(&EndpointName::pod("y", "a")));
        assert!(!pods.matches(&EndpointName::service("x", "a")));
        assert!(EndpointPattern::parse("service:x/a").unwrap().matches(&EndpointName::service("x", "a")));
        assert!(EndpointPattern::parse("*").unwrap().matches(&EndpointName::External("internet".into())));
    }

    #[test]
    fn a_pattern_prints_as_it_is_written() {
        for text in ["*", "x/*", "service:x/web", "node:node-1", "external:*"] {
            assert_eq!(EndpointPattern::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a", "a/b/c", "/b", "pods:x/a", "node:", "service:x"] {
            assert!(EndpointPattern::parse(text).is_err(), "{text}");
        }
    }
}
