//! The name of an image.

use std::fmt;
use std::str::FromStr;

use super::error::{DEFAULT_IMAGE, Error};

/// Tag of an image that is named without a tag. No node may run the agent of another version, and `latest` would make
/// Kubernetes look for the image in a registry.
const TAG: &str = env!("CARGO_PKG_VERSION");

/// Maximum lengths that registries accept, of a repository and of a tag.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// The name of an image: a repository and a tag, in the syntax of a Pod's
/// `spec.containers[].image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName(String);

impl ImageName {
    /// Returns the name, always with its tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ImageName {
    fn default() -> Self {
        Self(DEFAULT_IMAGE.to_owned())
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = Error;

    /// Parses a name. Without a tag, it gets the version of this program.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |problem| Err(Error::Name(problem));
        if text.is_empty() {
            return refuse("the image needs a name");
        }
        if text.contains('@') {
            return refuse("a digest cannot be chosen, it follows from the content of the image");
        }
        // A colon before a slash belongs to the port of a registry.
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            Some(_) | None => (text, TAG),
        };
        if !is_tag(tag) {
            return refuse(
                "a tag has 1 to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two",
            );
        }
        let path = match repository.split_once('/') {
            Some((host, path)) if is_host(host) => path,
            Some(_) | None => repository,
        };
        if repository.len() > LONGEST_REPOSITORY || !path.split('/').all(is_component) {
            return refuse(
                "the name of an image has lower-case letters and digits, with `.`, `_`, `__` or `-` between them, in parts separated by `/`",
            );
        }
        Ok(Self(format!("{repository}:{tag}")))
    }
}

/// Returns whether the first part of a name is a registry, and not a part of the path.
fn is_host(part: &str) -> bool {
    let (host, port) = part.rsplit_once(':').unwrap_or((part, "0"));
    let looks_like_one =
        part == "localhost" || part.contains(['.', ':']) || part.contains(|c: char| c.is_ascii_uppercase());
    let is_address = host.starts_with('[') && host.ends_with(']');
    looks_like_one
        && !host.is_empty()
        && (is_address || host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
        && !port.is_empty()
        && port.chars().all(|c| c.is_ascii_digit())
}

fn is_component(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = part.split(is_plain).filter(|between| !between.is_empty());
    part.starts_with(is_plain)
        && part.ends_with(is_plain)
        && separators.all(|between| {
            matches!(between, "." | "_" | "__") || between.chars().all(|separator| separator == '-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= LONGEST_TAG
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse::<ImageName>().ok().map(|name| name.to_string())
    }

    #[test]
    fn the_default_is_a_name() {
        assert_eq!(DEFAULT_IMAGE.parse::<ImageName>().unwrap(), ImageName::default());
    }

    #[test]
    fn a_name_without_a_tag_gets_the_version() {
        let version = env!("CARGO_PKG_VERSION");
        for name in ["probe", "team/net-proof__probe.x", "registry.example:5000/probe", "localhost/a/b/c"] {
            assert_eq!(read(name), Some(format!("{name}:{version}")));
        }
        for name in ["probe:1", "Registry/probe:v1.0_x-Y", "registry.example:5000/probe:1", "[::1]:5000/a:b"]
        {
            assert_eq!(read(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_no_tool_would_take_is_refused() {
        for name in [
            "",
            ":",
            ":1",
            "a:",
            "a:b:c",
            "a:-b",
            "a b",
            "a:b c",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a_.b",
            "A",
            "a/B",
            "a\n",
            "ä",
            "registry.example:/a",
            "registry.example:x/a",
            "a@sha256:00",
        ] {
            assert_eq!(read(name), None, "{name:?}");
        }
        assert_eq!(read(&format!("a:{}", "x".repeat(129))), None);
        assert_eq!(read(&"a".repeat(256)), None);
    }
}
