//! Compares the tenants with a cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::rule::PodSet;
use super::tenancy::{End, Flow, Outside, SharedService, Tenancy, Tenant, TenantSet, Who, Zone};
use super::written::{EndSpec, PodSpec, TenantSpec, Tenants, WhoSpec};
use crate::policy::{Cluster, LabelSelector, Namespace, Pod, Selection};
use crate::snapshot::Identity;
use crate::source::{Error, Located, Location, did_you_mean, near, quote, wildcard};

/// What a tenant says about one of its namespaces.
#[derive(Debug, Clone, Copy)]
struct Claim {
    at: Location,
    shared: bool,
}

/// The claims to each namespace, by the indices of the tenants.
type Claims = BTreeMap<String, BTreeMap<usize, Claim>>;

impl Tenants {
    /// Finds the tenants in a cluster.
    ///
    /// # Errors
    /// If the tenants do not fit the cluster: a name or selector matches nothing, two tenants own a namespace that they
    /// do not share, or rules contradict each other. The error has the place in the file.
    pub fn resolve(&self, cluster: &Cluster) -> Result<Tenancy, Error> {
        let resolver = Resolver { written: self, cluster };
        let claims = resolver.claims()?;
        let owners = claims.iter().map(|(namespace, claims)| {
            resolver.check_owners(namespace, claims)?;
            Ok((namespace.clone(), claims.keys().copied().collect()))
        });
        let owners: BTreeMap<String, TenantSet> = owners.collect::<Result<_, Error>>()?;
        let zones = self.zones.iter().map(|zone| {
            let what = format!("the zone {}", quote(&zone.name.value));
            let pods = resolver.pods(&zone.pods, zone.name.at, &what)?;
            Ok(Zone { name: zone.name.value.clone(), pods })
        });
        let zones = zones.collect::<Result<Vec<_>, Error>>()?;
        Ok(Tenancy {
            tenants: self
                .tenants
                .iter()
                .enumerate()
                .map(|(i, spec)| resolver.tenant(i, spec, &owners))
                .collect(),
            flows: resolver.flows(&zones, &owners)?,
            services: resolver.services()?,
            outside: resolver.outside()?,
            owners,
            zones,
            standing: self.standing,
            scope: self.scope,
            facts: Facts::new(cluster),
            pod_selectors: self.pod_selectors(),
        })
    }

    /// Checks that the names of tenants and zones in rules are those of the file. This needs no cluster.
    ///
    /// # Errors
    /// If a rule names what the file does not have. The error has the place in the file.
    pub fn check_names(&self) -> Result<(), Error> {
        let none = Cluster::default();
        let resolver = Resolver { written: self, cluster: &none };
        let zones = || self.zones.iter().map(|zone| zone.name.value.as_str());
        for end in self.flows.iter().flat_map(|flow| [&flow.from.value, &flow.to.value]) {
            resolver.tenants(end.tenants.as_ref())?;
            end.zones.as_ref().map(|list| resolver.by_name(list, zones, "zone")).transpose()?;
        }
        let of_services = self.services.iter().map(|service| service.tenants.as_ref());
        let of_targets = self.outside.iter().map(|target| target.tenants.as_ref());
        of_services.chain(of_targets).try_for_each(|list| resolver.tenants(list).map(drop))
    }

    /// Returns the selectors of pods in zones and shared services.
    fn pod_selectors(&self) -> BTreeSet<LabelSelector> {
        let of_services = self.services.iter().filter_map(|service| match &service.who {
            WhoSpec::Pods(pods) => Some(pods),
            WhoSpec::Addresses(_) | WhoSpec::ApiServer => None,
        });
        let all = self.zones.iter().map(|zone| &zone.pods).chain(of_services);
        all.filter_map(|pods| pods.pod_selector.as_ref()).map(|selector| selector.value.clone()).collect()
    }
}

struct Resolver<'a> {
    written: &'a Tenants,
    cluster: &'a Cluster,
}

impl<'a> Resolver<'a> {
    fn error(&self, at: Location, message: impl Into<String>) -> Error {
        match &self.written.file {
            Some(name) => Error::at(name, at, message),
            None => Error::whole(&"tenants by label".into(), message),
        }
    }

    /// Returns where a claim is, for the message of an error at another place.
    fn place(&self, at: Location) -> String {
        self.written.place(at).map_or_else(|| at.to_string(), |place| place.to_string())
    }

    fn tenant(&self, index: usize, spec: &TenantSpec, owners: &BTreeMap<String, TenantSet>) -> Tenant {
        let own = owners.iter().filter(|(_, owners)| owners.contains(&index));
        Tenant {
            name: spec.name.value.clone(),
            namespaces: own.map(|(namespace, _)| namespace.clone()).collect(),
            ingress: spec.ingress.value,
            egress: spec.egress.value,
            mode: spec.mode,
            ingress_at: self.written.place(spec.ingress.at),
            egress_at: self.written.place(spec.egress.at),
        }
    }

    fn claims(&self) -> Result<Claims, Error> {
        let mut claims = Claims::new();
        for (index, tenant) in self.written.tenants.iter().enumerate() {
            let mut claim = |namespace: &str, claim: Claim| {
                let own = claims.entry(namespace.to_owned()).or_default().entry(index).or_insert(claim);
                // A namespace may be shared by name although a selector matches it, too.
                own.shared |= claim.shared;
            };
            for owned in &tenant.namespaces {
                for namespace in self.named_namespaces(&owned.pattern)? {
                    claim(namespace, Claim { at: owned.pattern.at, shared: owned.shared });
                }
            }
            if let Some(selector) = &tenant.selector {
                for namespace in self.selected_namespaces(selector)? {
                    claim(namespace, Claim { at: selector.at, shared: false });
                }
            }
        }
        Ok(claims)
    }

    /// Checks that the owners of a namespace agree to share it, and about what may reach it.
    fn check_owners(&self, namespace: &str, claims: &BTreeMap<usize, Claim>) -> Result<(), Error> {
        let spec = |index: &usize| self.written.tenants.get(*index);
        let mut owners = claims.iter().filter_map(|(index, claim)| Some((spec(index)?, claim)));
        let Some((first, first_claim)) = owners.next() else { return Ok(()) };
        for (other, claim) in owners {
            let (one, two) = (quote(&first.name.value), quote(&other.name.value));
            if !(first_claim.shared && claim.shared) {
                let message = format!(
                    "the namespace {} belongs to tenant {two} here, and to tenant {one} at {}: give it to one of them, \
                     or write `{{name: {namespace}, shared: true}}` under `namespaces` of both",
                    quote(namespace),
                    self.place(first_claim.at)
                );
                return Err(self.error(claim.at, message));
            }
            for (field, mine, theirs) in
                [("ingress", &first.ingress, &other.ingress), ("egress", &first.egress, &other.egress)]
            {
                if mine.value != theirs.value {
                    let message = format!(
                        "the tenants {one} and {two} share the namespace {}, and contradict each other: {field} {} \
                         here, {} at {}",
                        quote(namespace),
                        theirs.value,
                        mine.value,
                        self.place(mine.at)
                    );
                    return Err(self.error(theirs.at, message));
                }
            }
        }
        Ok(())
    }

    /// Returns the namespaces that a pattern matches; at least one.
    fn named_namespaces(&self, pattern: &Located<String>) -> Result<Vec<&'a str>, Error> {
        let names = || self.cluster.namespaces.iter().map(|namespace| namespace.name.as_str());
        let found: Vec<_> = names().filter(|name| wildcard(&pattern.value, name)).collect();
        if found.is_empty() {
            let near = did_you_mean(&near(&pattern.value, names()));
            let message = format!("there is no namespace {}{near}", quote(&pattern.value));
            return Err(self.error(pattern.at, message));
        }
        Ok(found)
    }

    /// Returns the namespaces that a selector matches; at least one.
    fn selected_namespaces(&self, selector: &Located<LabelSelector>) -> Result<Vec<&'a str>, Error> {
        let mut found = Vec::new();
        for Namespace { name, labels, unknown_labels } in &self.cluster.namespaces {
            match selector.value.select(labels, unknown_labels) {
                Selection::Selected => found.push(name.as_str()),
                Selection::NotSelected => {}
                Selection::DependsOn(_) => {
                    let message = format!(
                        "namespaceSelector: the labels of namespace {} are not known: add its manifest",
                        quote(name)
                    );
                    return Err(self.error(selector.at, message));
                }
            }
        }
        if found.is_empty() {
            let message = format!("namespaceSelector: no namespace has these labels: {}", selector.value);
            return Err(self.error(selector.at, message));
        }
        Ok(found)
    }

    /// Returns the pods of a zone or shared service. It must have at least one that has an address of its own.
    fn pods(&self, spec: &PodSpec, at: Location, what: &str) -> Result<PodSet, Error> {
        let mut namespaces = BTreeSet::new();
        for pattern in &spec.namespaces {
            namespaces.extend(self.named_namespaces(pattern)?);
        }
        if let Some(selector) = &spec.namespace_selector {
            namespaces.extend(self.selected_namespaces(selector)?);
        }
        if spec.namespaces.is_empty() && spec.namespace_selector.is_none() {
            namespaces.extend(self.cluster.namespaces.iter().map(|namespace| namespace.name.as_str()));
        }
        let everything = Located { value: LabelSelector::everything(), at };
        let selector = spec.pod_selector.as_ref().unwrap_or(&everything);
        let selected = self.selected_pods(&namespaces, selector)?;
        if selected.is_empty() {
            return Err(self.error(selector.at, format!("{what} selects no pod")));
        }
        if selected.iter().all(|pod| pod.host_network) {
            let message = format!(
                "{what} selects only pods with hostNetwork. They have the addresses of their nodes, so no policy can \
                 name them by label: leave it out, or name `addresses`"
            );
            return Err(self.error(selector.at, message));
        }
        let namespaces = namespaces.into_iter().map(str::to_owned).collect();
        Ok(PodSet { namespaces, pods: selector.value.clone() })
    }

    fn selected_pods(
        &self,
        namespaces: &BTreeSet<&str>,
        selector: &Located<LabelSelector>,
    ) -> Result<Vec<&'a Pod>, Error> {
        let mut found = Vec::new();
        for pod in self.cluster.pods.iter().filter(|pod| !pod.ended) {
            if !namespaces.contains(pod.namespace.as_str()) {
                continue;
            }
            match selector.value.select(&pod.labels, &pod.unknown_labels) {
                Selection::Selected => found.push(pod),
                Selection::NotSelected => {}
                Selection::DependsOn(keys) => {
                    let keys: Vec<_> = keys.iter().map(|key| quote(key)).collect();
                    let message = format!(
                        "podSelector: whether it matches pod {} depends on its label {}, which is not known",
                        Identity::of_pod(pod),
                        keys.join(", ")
                    );
                    return Err(self.error(selector.at, message));
                }
            }
        }
        Ok(found)
    }

    /// Returns the tenants that a list names. Without a list, all tenants.
    fn tenants(&self, list: Option<&Vec<Located<String>>>) -> Result<TenantSet, Error> {
        let tenants = || self.written.tenants.iter().map(|tenant| tenant.name.value.as_str());
        let Some(list) = list else { return Ok((0..self.written.tenants.len()).collect()) };
        self.by_name(list, tenants, "tenant")
    }

    /// Returns the indices of the names that a list of patterns matches.
    fn by_name<'n, I: Iterator<Item = &'n str>>(
        &self,
        list: &[Located<String>],
        names: impl Fn() -> I,
        kind: &str,
    ) -> Result<BTreeSet<usize>, Error> {
        let mut found = BTreeSet::new();
        for Located { value, at } in list {
            let before = found.len();
            let mut matching = names().enumerate().filter(|(_, name)| wildcard(value, name)).peekable();
            if matching.peek().is_none() {
                let near = did_you_mean(&near(value, names()));
                return Err(self.error(*at, format!("there is no {kind} {}{near}", quote(value))));
            }
            found.extend(matching.map(|(index, _)| index));
            if found.len() == before {
                return Err(self.error(*at, format!("the {kind} {} is there twice", quote(value))));
            }
        }
        Ok(found)
    }

    fn flows(&self, zones: &[Zone], owners: &BTreeMap<String, TenantSet>) -> Result<Vec<Flow>, Error> {
        let flows = self.written.flows.iter().map(|spec| {
            let from = self.end(&spec.from, zones, owners)?;
            let to = self.end(&spec.to, zones, owners)?;
            if let (true, Some(one), Some(other)) = (spec.same_tenant, &from.tenants, &to.tenants)
                && one.is_disjoint(other)
            {
                let message =
                    "sameTenant: `from` and `to` have no tenant in common, so the flow is about nothing";
                return Err(self.error(spec.at, message));
            }
            Ok(Flow {
                from,
                to,
                same_tenant: spec.same_tenant,
                ports: spec.ports.clone(),
                action: spec.action,
                at: self.written.place(spec.at),
            })
        });
        flows.collect()
    }

    fn end(
        &self,
        Located { value: spec, at }: &Located<EndSpec>,
        zones: &[Zone],
        owners: &BTreeMap<String, TenantSet>,
    ) -> Result<End, Error> {
        let tenants = spec.tenants.as_ref().map(|list| self.tenants(Some(list))).transpose()?;
        let indices = spec
            .zones
            .as_ref()
            .map(|list| self.by_name(list, || zones.iter().map(|zone| zone.name.as_str()), "zone"));
        let indices = indices.transpose()?;
        let zones = indices.map(|indices| {
            let pods = indices.into_iter().filter_map(|index| zones.get(index)).map(|zone| zone.pods.clone());
            pods.collect::<Vec<_>>()
        });
        if let (Some(tenants), Some(zones)) = (&tenants, &zones) {
            let is_in_both = |pod: &Pod| {
                owners.get(&pod.namespace).is_some_and(|owners| !owners.is_disjoint(tenants))
                    && zones.iter().any(|zone| zone.contains(&pod.namespace, &pod.labels))
            };
            if !self.cluster.pods.iter().any(|pod| !pod.ended && is_in_both(pod)) {
                let message =
                    "no pod belongs both to this tenant and to this zone, so the flow is about nothing";
                return Err(self.error(*at, message));
            }
        }
        Ok(End { tenants, zones })
    }

    fn services(&self) -> Result<Vec<SharedService>, Error> {
        let services = self.written.services.iter().map(|spec| {
            let what = format!("the shared service {}", quote(&spec.name.value));
            let who = match &spec.who {
                WhoSpec::Pods(pods) => Who::Pods(self.pods(pods, spec.name.at, &what)?),
                WhoSpec::Addresses(addresses) => Who::Addresses(addresses.clone()),
                WhoSpec::ApiServer => Who::ApiServer,
            };
            Ok(SharedService {
                name: spec.name.value.clone(),
                who,
                sharing: spec.sharing,
                tenants: self.tenants(spec.tenants.as_ref())?,
                ports: spec.ports.clone(),
                action: spec.action,
                at: self.written.place(spec.name.at),
            })
        });
        services.collect()
    }

    fn outside(&self) -> Result<Vec<Outside>, Error> {
        let targets = self.written.outside.iter().map(|spec| {
            Ok(Outside {
                name: spec.name.value.clone(),
                addresses: spec.addresses.clone(),
                tenants: self.tenants(spec.tenants.as_ref())?,
                ports: spec.ports.clone(),
                action: spec.action,
                at: self.written.place(spec.name.at),
            })
        });
        targets.collect()
    }
}
