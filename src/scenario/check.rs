//! The API server's rules for names, applied to a scenario's own fields.

use super::load::Loader;
use crate::policy::{Labels, Port, Protocol};
use crate::snapshot::{Field, Problem, rules};
use crate::source::{Error, Located, Location};

/// Checker of values in a file.
#[derive(Clone, Copy)]
pub(super) struct Checker<'a> {
    loader: &'a Loader,
}

impl<'a> Checker<'a> {
    pub(super) fn new(loader: &'a Loader) -> Self {
        Self { loader }
    }

    pub(super) fn subdomain(self, name: &Located<String>) -> Result<(), Error> {
        self.at(name.at, rules::subdomain(&name.value, &Field::ROOT))
    }

    pub(super) fn dns_label(self, name: &Located<String>) -> Result<(), Error> {
        self.at(name.at, rules::dns_label(&name.value, &Field::ROOT))
    }

    pub(super) fn label(self, key: &str, value: &str, at: Location) -> Result<(), Error> {
        self.at(
            at,
            rules::label_key(key, &Field::ROOT).and_then(|()| rules::label_value(value, &Field::ROOT)),
        )
    }

    pub(super) fn labels(self, labels: Option<Located<Labels>>) -> Result<Option<Labels>, Error> {
        labels
            .map(|Located { value, at }| {
                self.at(at, rules::labels(&value, &Field::ROOT))?;
                Ok(value)
            })
            .transpose()
    }

    pub(super) fn port(self, port: &Located<i32>) -> Result<Port, Error> {
        self.at(port.at, rules::port_number(port.value, &Field::ROOT))
    }

    pub(super) fn port_name(self, name: &Located<String>) -> Result<(), Error> {
        self.at(name.at, rules::port_name(&name.value, &Field::ROOT))
    }

    pub(super) fn protocol(self, protocol: Option<&Located<String>>) -> Result<Protocol, Error> {
        let at = protocol.map_or(Location::START, |protocol| protocol.at);
        self.at(at, rules::protocol(protocol.map(|protocol| protocol.value.as_str()), &Field::ROOT))
    }

    fn at<T>(self, at: Location, result: Result<T, Problem>) -> Result<T, Error> {
        result.map_err(|problem| self.loader.error(at, problem.message))
    }
}
