//! Reads values of a scenario file. The API server's rules for names apply to a scenario's own fields, too.

use std::sync::Arc;

use super::assertion::DestinationPattern;
use crate::policy::{IpFamily, Labels, Port, Protocol};
use crate::snapshot::{Field, Problem, rules};
use crate::source::{self, Error, Located, Location, Node, quote};
use crate::world::EndpointPattern;

/// Reader of the values of one file.
pub(crate) struct Reader {
    /// Name of the file.
    pub(crate) name: Arc<str>,
}

impl Reader {
    pub(crate) fn error(&self, at: Location, message: impl Into<String>) -> Error {
        Error::at(&self.name, at, message)
    }

    /// Returns the error that two objects of a kind have one name.
    pub(super) fn twice(&self, at: Location, kind: &str, name: &str) -> Error {
        self.error(at, format!("the {kind} {} is there twice", quote(name)))
    }

    /// Returns an error with its cause. The message is that of the cause, after `before`.
    pub(crate) fn caused(
        &self,
        at: Location,
        before: &str,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        self.error(at, format!("{before}{cause}")).because(cause)
    }

    /// Reads the patterns of `from` and `to`.
    pub(super) fn ends(
        &self,
        from: &Node,
        to: &Node,
    ) -> Result<(Vec<EndpointPattern>, Vec<DestinationPattern>), Error> {
        let senders = self.strings(from, "from")?.into_iter().map(|Located { value, at }| {
            EndpointPattern::parse(&value).map_err(|error| self.caused(at, "from: ", error))
        });
        let receivers = self.strings(to, "to")?.into_iter().map(|Located { value, at }| {
            DestinationPattern::parse(&value).map_err(|error| self.caused(at, "to: ", error))
        });
        Ok((senders.collect::<Result<_, _>>()?, receivers.collect::<Result<_, _>>()?))
    }

    /// Reads the name of a family.
    pub(crate) fn family(&self, name: &Located<String>, field: &str) -> Result<IpFamily, Error> {
        self.one_of(IpFamily::ALL, IpFamily::name, name, field, "neither IPv4 nor IPv6")
    }

    /// Finds a value by its name. `otherwise` describes all other names.
    pub(crate) fn one_of<T: Copy>(
        &self,
        values: impl IntoIterator<Item = T>,
        name_of: impl Fn(T) -> &'static str,
        name: &Located<String>,
        field: &str,
        otherwise: &str,
    ) -> Result<T, Error> {
        let found = values.into_iter().find(|value| name_of(*value) == name.value);
        found.ok_or_else(|| self.error(name.at, format!("{field}: {} is {otherwise}", quote(&name.value))))
    }

    /// Reads a string, or a list of at least one string.
    pub(crate) fn strings(&self, node: &Node, field: &str) -> Result<Vec<Located<String>>, Error> {
        source::strings(&self.name, node, field)
    }

    pub(crate) fn subdomain(&self, name: &Located<String>) -> Result<(), Error> {
        self.at(name.at, rules::subdomain(&name.value, &Field::ROOT))
    }

    pub(super) fn dns_label(&self, name: &str, at: Location) -> Result<(), Error> {
        self.at(at, rules::dns_label(name, &Field::ROOT))
    }

    pub(super) fn label(&self, key: &str, value: &str, at: Location) -> Result<(), Error> {
        self.at(
            at,
            rules::label_key(key, &Field::ROOT).and_then(|()| rules::label_value(value, &Field::ROOT)),
        )
    }

    pub(super) fn labels(&self, labels: Option<Located<Labels>>) -> Result<Labels, Error> {
        let Some(Located { value, at }) = labels else { return Ok(Labels::new()) };
        self.at(at, rules::labels(&value, &Field::ROOT))?;
        Ok(value)
    }

    pub(super) fn port(&self, port: &Located<i32>) -> Result<Port, Error> {
        self.at(port.at, rules::port_number(port.value, &Field::ROOT))
    }

    pub(super) fn port_name(&self, name: &Located<String>) -> Result<(), Error> {
        self.at(name.at, rules::port_name(&name.value, &Field::ROOT))
    }

    pub(super) fn protocol(&self, protocol: Option<&Located<String>>) -> Result<Protocol, Error> {
        let at = protocol.map_or(Location::START, |protocol| protocol.at);
        self.at(at, rules::protocol(protocol.map(|protocol| protocol.value.as_str()), &Field::ROOT))
    }

    fn at<T>(&self, at: Location, result: Result<T, Problem>) -> Result<T, Error> {
        result.map_err(|problem| self.caused(at, "", problem))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use crate::scenario::load;
    use crate::source::Text;
    use crate::world::{self, ParseError};

    #[test]
    fn errors_keep_their_causes() {
        let failure = |step: &str| {
            let content = format!(
                "apiVersion: netproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: a}}\nsteps: [{{name: s, {step}}}]\n"
            );
            load(&[Text { name: "a.yaml".into(), content }]).unwrap_err()
        };
        let error = failure("expect: [{from: q, to: self, deny: [all]}]");
        let cause: Option<&ParseError> = error.source().and_then(|cause| cause.downcast_ref());
        assert!(cause.unwrap().to_string().starts_with("`q` is not an endpoint"), "{error}");
        assert!(error.message.starts_with("from: `q` is not an endpoint"), "{error}");
        let error = failure("removePod: [x/q]");
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        assert!(matches!(cause, Some(world::Error::Missing { kind: "pod", .. })), "{error:?}");
    }
}
