//! Reads a tenants file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::file::{
    EndFile, FlowFile, NamespaceFile, OutsideFile, SharedServiceFile, StandingFile, TenantFile, TenantsFile,
    ZoneFile,
};
use super::intent::Mode;
use super::rule::{Action, PortSet, Scope, Sharing, Standing};
use super::tenancy::Access;
use super::written::{
    EndSpec, FlowSpec, OutsideSpec, Owned, PodSpec, ServiceSpec, TenantSpec, Tenants, WhoSpec, ZoneSpec,
};
use crate::policy::{LabelSelector, Port, PortRange, Protocol};
use crate::snapshot::{Field, Problem, read_selector, rules};
use crate::source::{
    self, Document, Error, Located, Location, Node, Text, Value, decode, did_you_mean, misspelt, quote,
};

/// `apiVersion` of a tenants file.
pub(super) const API_VERSION: &str = "netproof.dev/v1alpha1";
/// `kind` of a tenants file.
pub(super) const KIND: &str = "Tenants";

impl Tenants {
    /// Reads the tenants of a file.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn read(text: &Text) -> Result<Self, Error> {
        let documents = text.documents()?;
        match documents.as_slice() {
            [] => Err(Error::whole(&text.name, "it is empty: expected one document")),
            [document] => Self::from_document(document),
            [_, second, ..] => {
                let message =
                    "a second document: a tenants file has only one, because its flows are in order";
                Err(Error::at(&text.name, second.node.at, message))
            }
        }
    }

    /// Reads the tenants of a document.
    ///
    /// # Errors
    /// The first error, with its place.
    pub fn from_document(document: &Document) -> Result<Self, Error> {
        source::expect_kind(document, API_VERSION, KIND)?;
        let reader = Reader { name: Arc::clone(&document.name) };
        let file: TenantsFile = reader.decode(&document.node)?;
        reader.tenants(&file)
    }
}

/// Reader of the values of one file.
struct Reader {
    /// Name of the file.
    name: Arc<str>,
}

impl Reader {
    fn error(&self, at: Location, message: impl Into<String>) -> Error {
        Error::at(&self.name, at, message)
    }

    fn decode<T: for<'a> serde::Deserialize<'a>>(&self, node: &Node) -> Result<T, Error> {
        decode(node).map_err(|error| error.within(&self.name))
    }

    fn tenants(&self, file: &TenantsFile) -> Result<Tenants, Error> {
        if file.tenants.value.is_empty() {
            return Err(self.error(file.tenants.at, "tenants: at least one is needed"));
        }
        let names = |names: Vec<&Located<String>>, kind| self.names(names, kind);
        names(file.tenants.value.iter().map(|tenant| &tenant.name).collect(), "tenant")?;
        names(file.zones.iter().map(|zone| &zone.name).collect(), "zone")?;
        let services = file.shared_services.iter().map(|service| &service.value.name);
        names(services.collect(), "shared service")?;
        names(file.outside.iter().map(|target| &target.name).collect(), "outside target")?;
        Ok(Tenants {
            file: Some(Arc::clone(&self.name)),
            tenants: all(&file.tenants.value, |tenant| self.tenant(tenant))?,
            services: all(&file.shared_services, |service| self.service(service))?,
            zones: all(&file.zones, |zone| self.zone(zone))?,
            flows: all(&file.flows, |flow| self.flow(flow))?,
            outside: all(&file.outside, |target| self.outside(target))?,
            standing: self.standing(file.standing.as_ref())?,
            scope: Scope::Everything,
        })
    }

    /// Checks names. Each must be there only once, and may be used as the value of a label.
    fn names(&self, names: Vec<&Located<String>>, kind: &str) -> Result<(), Error> {
        let mut seen = BTreeMap::new();
        for Located { value, at } in names {
            if value.is_empty() {
                return Err(self.error(*at, format!("the name of a {kind} is empty")));
            }
            self.at(*at, "name", rules::label_value(value, &Field::ROOT))?;
            if let Some(first) = seen.insert(value, *at) {
                let message = format!("the {kind} {} is there twice: first at {first}", quote(value));
                return Err(self.error(*at, message));
            }
        }
        Ok(())
    }

    fn tenant(&self, file: &TenantFile) -> Result<TenantSpec, Error> {
        let own = |written: &Option<Located<String>>, field, default| match written {
            None => Ok(Located { value: default, at: file.name.at }),
            Some(name) => self
                .one_of(&Access::ALL, Access::name, name, field)
                .map(|value| Located { value, at: name.at }),
        };
        let namespaces = match &file.namespaces {
            None => Vec::new(),
            Some(Located { value, at }) if value.is_empty() => {
                return Err(self.error(*at, "namespaces: the list is empty"));
            }
            Some(list) => all(&list.value, |entry| self.owned(entry))?,
        };
        if namespaces.is_empty() && file.namespace_selector.is_none() {
            let message = format!(
                "the tenant {} has no namespaces: add `namespaces` or a `namespaceSelector`",
                quote(&file.name.value)
            );
            return Err(self.error(file.name.at, message));
        }
        for (i, owned) in namespaces.iter().enumerate() {
            if let Some(first) =
                namespaces.iter().take(i).find(|first| first.pattern.value == owned.pattern.value)
            {
                let message = format!(
                    "namespaces: {} is there twice: first at {}",
                    quote(&owned.pattern.value),
                    first.pattern.at
                );
                return Err(self.error(owned.pattern.at, message));
            }
        }
        let mode = file.mode.as_ref().map(|mode| self.one_of(&Mode::ALL, Mode::name, mode, "mode"));
        Ok(TenantSpec {
            name: file.name.clone(),
            namespaces,
            selector: self.selector(file.namespace_selector.as_ref(), "namespaceSelector")?,
            // The defaults of AKS Managed Namespaces.
            ingress: own(&file.ingress, "ingress", Access::AllowSameNamespace)?,
            egress: own(&file.egress, "egress", Access::AllowAll)?,
            mode: mode.transpose()?.unwrap_or_default(),
        })
    }

    /// Reads an entry of a tenant's `namespaces`: a name, or a mapping with a name.
    fn owned(&self, entry: &Node) -> Result<Owned, Error> {
        let NamespaceFile { name: pattern, shared } = match entry.as_str() {
            Some(name) => {
                NamespaceFile { name: Located { value: name.to_owned(), at: entry.at }, shared: false }
            }
            None if matches!(entry.value, Value::Mapping(_)) => {
                self.decode(entry).map_err(|error| error.about("namespaces"))?
            }
            None => {
                let message = format!(
                    "namespaces: expected a name or `{{name: NAME, shared: true}}`, found {}",
                    entry.value.describe()
                );
                return Err(self.error(entry.at, message));
            }
        };
        self.namespace_pattern(&pattern)?;
        Ok(Owned { pattern, shared })
    }

    fn namespace_pattern(&self, pattern: &Located<String>) -> Result<(), Error> {
        let example = pattern.value.replace('*', "x");
        self.at(pattern.at, "namespaces", rules::dns_label(&example, &Field::ROOT)).map_err(|_| {
            let message = format!(
                "namespaces: {} is not the name of a namespace, in which `*` may stand for any text",
                quote(&pattern.value)
            );
            self.error(pattern.at, message)
        })
    }

    fn pods(
        &self,
        namespaces: Option<&Node>,
        namespace_selector: Option<&Node>,
        pod_selector: Option<&Node>,
    ) -> Result<PodSpec, Error> {
        let namespaces =
            namespaces.map(|node| source::strings(&self.name, node, "namespaces")).transpose()?;
        let namespaces = namespaces.unwrap_or_default();
        namespaces.iter().try_for_each(|pattern| self.namespace_pattern(pattern))?;
        Ok(PodSpec {
            namespaces,
            namespace_selector: self.selector(namespace_selector, "namespaceSelector")?,
            pod_selector: self.selector(pod_selector, "podSelector")?,
        })
    }

    fn selector(&self, node: Option<&Node>, field: &str) -> Result<Option<Located<LabelSelector>>, Error> {
        let read = |node: &Node| Ok(Located { value: read_selector(&self.name, node, field)?, at: node.at });
        node.map(read).transpose()
    }

    fn zone(&self, file: &ZoneFile) -> Result<ZoneSpec, Error> {
        let ZoneFile { name, namespaces, namespace_selector, pod_selector } = file;
        if namespaces.is_none() && namespace_selector.is_none() && pod_selector.is_none() {
            let message = format!(
                "the zone {} says nothing: add `namespaces`, a `namespaceSelector` or a `podSelector`",
                quote(&name.value)
            );
            return Err(self.error(name.at, message));
        }
        let pods = self.pods(namespaces.as_ref(), namespace_selector.as_ref(), pod_selector.as_ref())?;
        Ok(ZoneSpec { name: name.clone(), pods })
    }

    fn service(
        &self,
        Located { value: file, at }: &Located<SharedServiceFile>,
    ) -> Result<ServiceSpec, Error> {
        let has_pods =
            file.namespaces.is_some() || file.namespace_selector.is_some() || file.pod_selector.is_some();
        let who = match (has_pods, &file.addresses, file.api_server) {
            (true, None, false) => WhoSpec::Pods(self.pods(
                file.namespaces.as_ref(),
                file.namespace_selector.as_ref(),
                file.pod_selector.as_ref(),
            )?),
            (false, Some(addresses), false) => WhoSpec::Addresses(self.addresses(addresses)?),
            (false, None, true) => WhoSpec::ApiServer,
            (true | false, None | Some(_), true | false) => {
                let message = format!(
                    "the shared service {} needs one of: pods (`namespaces`, `namespaceSelector`, `podSelector`), \
                     `addresses`, `apiServer: true`",
                    quote(&file.name.value)
                );
                return Err(self.error(*at, message));
            }
        };
        let direction = file.direction.as_ref();
        let direction = direction.map(|name| self.one_of(&Sharing::ALL, Sharing::name, name, "direction"));
        let direction = direction.transpose()?.unwrap_or(Sharing::FromTenants);
        if matches!((&who, direction), (WhoSpec::ApiServer, Sharing::ToTenants)) {
            let message = "direction: whether the API server reaches a pod is not asked, because its address \
                           differs from cluster to cluster: name its `addresses` instead";
            return Err(self.error(file.direction.as_ref().map_or(*at, |name| name.at), message));
        }
        let actions = [Action::Allow, Action::Ignore];
        let action = file.action.as_ref().map(|name| self.one_of(&actions, Action::name, name, "action"));
        Ok(ServiceSpec {
            name: file.name.clone(),
            who,
            ports: self.ports(file.ports.as_ref())?,
            sharing: direction,
            action: action.transpose()?.unwrap_or(Action::Allow),
            tenants: self.list(file.tenants.as_ref(), "tenants")?,
        })
    }

    fn flow(&self, Located { value: file, at }: &Located<FlowFile>) -> Result<FlowSpec, Error> {
        Ok(FlowSpec {
            at: *at,
            from: self.end(&file.from, "from")?,
            to: self.end(&file.to, "to")?,
            same_tenant: file.same_tenant,
            action: self.action(&file.action)?,
            ports: self.ports(file.ports.as_ref())?,
        })
    }

    fn end(
        &self,
        Located { value: file, at }: &Located<EndFile>,
        field: &str,
    ) -> Result<Located<EndSpec>, Error> {
        let tenants = self.list(file.tenant.as_ref(), "tenant")?;
        let zones = self.list(file.zone.as_ref(), "zone")?;
        if tenants.is_none() && zones.is_none() {
            let message =
                format!("{field}: name a `tenant`, a `zone` or both; `tenant: \"*\"` is every tenant");
            return Err(self.error(*at, message));
        }
        Ok(Located { value: EndSpec { tenants, zones }, at: *at })
    }

    fn outside(&self, file: &OutsideFile) -> Result<OutsideSpec, Error> {
        Ok(OutsideSpec {
            name: file.name.clone(),
            addresses: self.addresses(&file.addresses)?,
            ports: self.ports(file.ports.as_ref())?,
            action: self.action(&file.action)?,
            tenants: self.list(file.tenants.as_ref(), "tenants")?,
        })
    }

    fn standing(&self, node: Option<&Node>) -> Result<Standing, Error> {
        let file = match node {
            None => StandingFile::default(),
            Some(Node { value: Value::Bool(false), .. }) => return Ok(Standing::NONE),
            Some(node) => self.decode(node).map_err(|error| error.about("standing"))?,
        };
        let StandingFile { metadata, kubelets, etcd, api_server, node_ports } = file;
        Ok(Standing { metadata, kubelets, etcd, api_server, node_ports })
    }

    fn action(&self, name: &Located<String>) -> Result<Action, Error> {
        self.one_of(&Action::ALL, Action::name, name, "action")
    }

    fn list(&self, node: Option<&Node>, field: &str) -> Result<Option<Vec<Located<String>>>, Error> {
        node.map(|node| source::strings(&self.name, node, field)).transpose()
    }

    /// Reads addresses and address ranges.
    fn addresses(&self, node: &Node) -> Result<Vec<IpNet>, Error> {
        all(&source::strings(&self.name, node, "addresses")?, |Located { value, at }| {
            let net = match value.parse::<IpAddr>() {
                Ok(address) => Ok(IpNet::from(address)),
                Err(_) => rules::cidr(value, &Field::ROOT),
            };
            net.map(|net| net.trunc()).map_err(|_| {
                let message = format!(
                    "addresses: {} is neither an address nor a range such as 10.0.0.0/8",
                    quote(value)
                );
                self.error(*at, message)
            })
        })
    }

    /// Reads ports. Without a list, all ports are meant.
    fn ports(&self, list: Option<&Located<Vec<Node>>>) -> Result<PortSet, Error> {
        let Some(Located { value, at }) = list else { return Ok(PortSet::default()) };
        if value.is_empty() {
            let message = "ports: the list is empty: leave the field out if all ports are meant";
            return Err(self.error(*at, message));
        }
        all(value, |node| {
            let text = match &node.value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Null
                | Value::Bool(_)
                | Value::Float(_)
                | Value::Sequence(_)
                | Value::Mapping(_) => node.value.describe(),
            };
            port_range(&text).ok_or_else(|| {
                let message = format!(
                    "ports: {} is not a port: write 443, 53/UDP or 8000-8080/TCP; names of ports are not known here",
                    quote(&text)
                );
                self.error(node.at, message)
            })
        })
        .map(PortSet)
    }

    /// Finds a value by its name. `field` is where the name is written.
    fn one_of<T: Copy>(
        &self,
        values: &[T],
        name_of: impl Fn(T) -> &'static str,
        name: &Located<String>,
        field: &str,
    ) -> Result<T, Error> {
        let found = values.iter().copied().find(|value| name_of(*value) == name.value);
        found.ok_or_else(|| {
            let names: Vec<_> = values.iter().copied().map(name_of).collect();
            let meant = misspelt(&name.value, names.iter().copied());
            let message = format!(
                "{field}: {} is none of {}{}",
                quote(&name.value),
                names.join(", "),
                did_you_mean(meant.as_slice())
            );
            self.error(name.at, message)
        })
    }

    fn at<T>(&self, at: Location, field: &str, result: Result<T, Problem>) -> Result<T, Error> {
        result.map_err(|problem| self.error(at, format!("{field}: {problem}")).because(problem))
    }
}

/// Converts all elements of a list, or returns the first error.
fn all<T, U>(list: &[T], convert: impl Fn(&T) -> Result<U, Error>) -> Result<Vec<U>, Error> {
    list.iter().map(convert).collect()
}

/// Reads `443`, `53/UDP` or `8000-8080/TCP`. Without a protocol, it is TCP.
fn port_range(text: &str) -> Option<(Protocol, PortRange)> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse().ok()?),
        None => (text, Protocol::Tcp),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((protocol, PortRange::new(port(first)?, port(last)?)?))
}

fn port(text: &str) -> Option<Port> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
