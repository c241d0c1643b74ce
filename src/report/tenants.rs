//! The tenants of a cluster, for people.

use std::fmt::Write;

use super::escape::shown;
use super::style::{Table, count, thousands};
use crate::document::{ListedTenant, TenantListDocument};

/// Returns a line for each tenant, then what is special.
pub fn tenants_table(list: &TenantListDocument) -> String {
    let TenantListDocument { tenants, co_owned, zones, others, .. } = list;
    let mut table = Table::new(["tenant", "pods", "ingress", "egress", "mode", "namespaces"]);
    for ListedTenant { name, namespaces, pods, ingress, egress, mode } in tenants {
        let namespaces: Vec<_> = namespaces.iter().map(String::as_str).collect();
        table.row([
            shown(name),
            thousands(*pods),
            ingress.clone(),
            egress.clone(),
            mode.clone(),
            shown(namespaces.join(", ")),
        ]);
    }
    let mut text = table.lines(1..2);
    for (namespace, owners) in co_owned {
        let _ = writeln!(text, "co-owned: {} by {}", shown(namespace), shown(owners.join(", ")));
    }
    for zone in zones {
        let _ = writeln!(text, "zone: {}, {}", shown(&zone.name), count(zone.pods, "pod", "pods"));
    }
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(String::as_str).collect();
        let _ = writeln!(text, "of no tenant: {}", shown(others.join(", ")));
    }
    text
}
