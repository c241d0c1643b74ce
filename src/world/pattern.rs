//! Patterns that match endpoints.

use std::fmt;

use super::endpoint::EndpointName;
use super::error::ParseError;
use crate::source::wildcard;

/// A pattern that matches endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointPattern {
    /// `*`: every endpoint.
    Any,
    /// The name of an endpoint. `*` in any part of it stands for any text.
    Like(EndpointName),
}

impl EndpointPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If the text has none of the valid forms. The message lists them.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let pair = |text: &str| {
            let (namespace, name) = text.split_once('/')?;
            let is_pair = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
            is_pair.then(|| (namespace.to_owned(), name.to_owned()))
        };
        let name = match text.split_once(':') {
            None if text == "*" => return Ok(Self::Any),
            None => pair(text).map(|(namespace, name)| EndpointName::Pod { namespace, name }),
            Some(("service", rest)) => {
                pair(rest).map(|(namespace, name)| EndpointName::Service { namespace, name })
            }
            Some(("node", rest)) if !rest.is_empty() => Some(EndpointName::Node(rest.to_owned())),
            Some(("external", rest)) if !rest.is_empty() => Some(EndpointName::External(rest.to_owned())),
            Some(_) => None,
        };
        let expected =
            "is not an endpoint: write NAMESPACE/POD, service:NAMESPACE/NAME, node:NAME, external:NAME or *";
        name.map(Self::Like).ok_or_else(|| ParseError::new(text, expected))
    }

    /// Reads the name of one endpoint, in the form in which it is displayed.
    ///
    /// # Errors
    /// If the text has none of the valid forms, or matches several endpoints.
    pub(super) fn parse_name(text: &str) -> Result<EndpointName, ParseError> {
        match Self::parse(text)? {
            Self::Like(name) if !text.contains('*') => Ok(name),
            Self::Any | Self::Like(_) => Err(ParseError::new(text, "stands for several endpoints")),
        }
    }

    /// Returns whether the pattern matches this endpoint.
    pub fn matches(&self, endpoint: &EndpointName) -> bool {
        use EndpointName::{External, Node, Pod, Service};
        let Self::Like(pattern) = self else { return true };
        match (pattern, endpoint) {
            (Pod { namespace, name }, Pod { namespace: own, name: called })
            | (Service { namespace, name }, Service { namespace: own, name: called }) => {
                wildcard(namespace, own) && wildcard(name, called)
            }
            (Node(name), Node(called)) | (External(name), External(called)) => wildcard(name, called),
            (Pod { .. } | Service { .. } | Node(_) | External(_), _) => false,
        }
    }
}

/// The pattern as scenarios write it.
impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Like(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_are_read_as_they_are_printed() {
        for text in ["x/a", "service:x/web", "node:node-1", "external:internet"] {
            assert_eq!(EndpointPattern::parse_name(text).unwrap().to_string(), text);
            assert_eq!(EndpointPattern::parse(text).unwrap().to_string(), text);
        }
        for text in ["*", "x/*", "service:*/web", "node:*", "external:*"] {
            assert!(EndpointPattern::parse_name(text).is_err(), "{text}");
            assert_eq!(EndpointPattern::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "a", "a/b/c", "/b", "pods:x/a", "node:", "service:x"] {
            assert!(EndpointPattern::parse_name(text).is_err(), "{text}");
            assert!(EndpointPattern::parse(text).is_err(), "{text}");
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
}
