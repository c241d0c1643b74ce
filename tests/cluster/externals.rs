//! `netproof agent` and `--external`: hosts outside of the cluster are sources and destinations.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{Cluster, accused, cells, check_passed, execute, profile, state, up};
use crate::support::{Finished, User, command, program, run, scenario_file};

/// The token of the agents and the runs of these tests.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A host outside of the cluster, with an agent that ends with this value.
pub(super) struct Outside {
    name: String,
    addresses: &'static str,
    /// Its address on the nodes' network, at which the API of the agent is.
    link: String,
    agent: Child,
}

impl Outside {
    /// Starts a host with these addresses, or uses the one of an earlier test.
    fn start(name: &str, addresses: &'static str) -> Self {
        let space = format!("np-ext-{name}");
        if !std::path::Path::new("/run/netns").join(&space).exists() {
            up(&["external", name, addresses]);
        }
        let link = execute(&["ip", "-n", &space, "-4", "-o", "addr", "show", "dev", "eth0"]);
        let link = link.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned();
        let (api, program) = (format!("{link}:15119"), program());
        let program = program.to_str().unwrap();
        let arguments = ["netns", "exec", &space, program, "agent", "--name", name, "--listen", &api];
        let mut agent = Command::new("ip");
        agent.args(arguments).env("NETPROOF_TOKEN", TOKEN).stdout(Stdio::piped());
        let mut agent = agent.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready.trim_end(), format!(r#"{{"listening":"{api}"}}"#));
        Self { name: name.to_owned(), addresses, link, agent }
    }

    /// Returns the option for this host, if pods reach it at these addresses.
    fn option_at(&self, addresses: &str) -> String {
        format!("--external={}={addresses}@{}:15119", self.name, self.link)
    }

    fn option(&self) -> String {
        self.option_at(self.addresses)
    }

    /// Runs a program in the host's network.
    fn execute(&self, arguments: &[&str]) -> String {
        execute(&[&["ip", "netns", "exec", &format!("np-ext-{}", self.name)], arguments].concat())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// The hosts of the scenarios `default-deny` and `external-replies`.
fn two() -> [Outside; 2] {
    [
        Outside::start("office", "203.0.113.10,2001:db8:0:10::1"),
        Outside::start("elsewhere", "198.51.100.1,2001:db8:ffff::1"),
    ]
}

fn run_with(cluster: &Cluster, hosts: &[Outside], arguments: &[&str]) -> Finished {
    let options: Vec<String> = hosts.iter().map(Outside::option).collect();
    run_options(cluster, &options, arguments)
}

fn run_options(cluster: &Cluster, options: &[String], arguments: &[&str]) -> Finished {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let arguments = [arguments, &options, profile(), &["-o", "json"]].concat();
    let mut command = command(User::Root);
    let output = command.args(cluster.arguments(&arguments)).env("NETPROOF_TOKEN", TOKEN).output();
    Finished::from(output.unwrap())
}

/// Returns the cells with an external as an end, in the families of the cluster.
fn of_externals(report: &Value) -> Vec<(String, Value)> {
    let is_external =
        |cell: &Value| ["from", "to"].iter().any(|end| cell[end].as_str().unwrap().starts_with("external:"));
    let has_both = state().join("settings").exists()
        && std::fs::read_to_string(state().join("settings")).unwrap().contains("DUAL_STACK=\"1\"");
    let is_there = |cell: &Value| has_both || cell["family"] == "IPv4";
    cells(report).into_iter().filter(|(_, cell)| is_external(cell) && is_there(cell)).collect()
}

#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn externals_are_measured_in_both_directions() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let edges = [("before", "203.0.113.63"), ("first", "203.0.113.64"), ("last", "203.0.113.127")];
    let edges = edges.into_iter().chain([("beyond", "203.0.113.128")]);
    let six = ["0:3f:ffff:ffff:ffff:ffff", "0:40::", "0:7f:ffff:ffff:ffff:ffff", "0:80::"];
    let edges = edges.zip(six).map(|((name, four), six)| {
        Outside::start(name, Box::leak(format!("{four},2001:db8:{six}").into_boxed_str()))
    });
    let hosts: Vec<Outside> = two().into_iter().chain(edges).collect();
    let scenarios = ["external-replies", "range-edges", "default-deny"].map(scenario_file);
    let finished = run_with(&cluster, &hosts, &scenarios.each_ref().map(String::as_str));
    check_passed(&finished);
    let found = of_externals(&finished.json());
    assert!(found.len() > 300, "{}", found.len());
    for (place, cell) in found {
        assert!(matches!(cell["verdict"].as_str(), Some("match" | "undefined")), "{place}: {cell}");
    }
    cluster.check_clean();
}

/// The new policies are nowhere in force, so what they deny gets through.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn without_an_enforcer_leaks_from_and_to_externals_are_found() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let hosts = two();
    ["1", "2"].iter().for_each(|node| up(&["stop-enforcer", node]));
    let finished = run_with(&cluster, &hosts, &[&scenario_file("external-replies"), "--settle", "3s"]);
    up(&["enforce", &std::env::var("NETPROOF_ENFORCER").unwrap()]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let leaks = of_externals(&finished.json()).into_iter().filter(|(_, cell)| cell["verdict"] == "leak");
    let leaks: Vec<Value> = leaks.map(|(_, cell)| cell).collect();
    for (end, other) in [("from", "to"), ("to", "from")] {
        let is_found = |cell: &&Value| cell[end] == "external:elsewhere" && cell[other] == "x/a";
        assert!(leaks.iter().any(|cell| is_found(&cell)), "{end}: {leaks:?}");
    }
}

/// In an overlay network, nothing outside has a path to the addresses of pods.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn no_path_from_outside_is_no_outage() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let hosts = two();
    let routes = hosts[0].execute(&["ip", "route", "show", "root", "10.245.0.0/16"]);
    assert_eq!(routes.lines().count(), 2, "{routes}");
    for route in routes.lines() {
        hosts[0]
            .execute(&[&["ip", "route", "del"][..], &route.split_whitespace().collect::<Vec<_>>()].concat());
    }
    let finished = run_with(&cluster, &hosts, &[&scenario_file("external-replies")]);
    for route in routes.lines() {
        hosts[0]
            .execute(&[&["ip", "route", "add"][..], &route.split_whitespace().collect::<Vec<_>>()].concat());
    }
    let report = finished.json();
    assert_eq!((finished.code, accused(&report)), (Some(3), vec![]), "{}", finished.stderr);
    let office = |cell: &Value| cell["from"] == "external:office" || cell["to"] == "external:office";
    let of_office = of_externals(&report).into_iter();
    let of_office: Vec<_> = of_office.filter(|(_, cell)| office(cell) && cell["family"] == "IPv4").collect();
    assert!(!of_office.is_empty());
    for (place, cell) in of_office {
        // Datagrams to the host arrive without policies, though no answer comes back. So their denial is proved.
        let is_datagram = cell["probe"].as_str().unwrap().ends_with("/UDP");
        if is_datagram && cell["to"] == "external:office" && cell["expected"] == "deny" {
            assert_eq!(cell["verdict"], "match", "{place}: {cell}");
            continue;
        }
        assert_eq!(cell["verdict"], "inconclusive", "{place}: {cell}");
        let cause = cell["cause"].as_str().unwrap();
        assert!(cause.contains("before there were policies either"), "{place}: {cell}");
    }
}

/// The network translates the addresses of a host, so policies see another source.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_source_that_the_network_replaces_gives_no_wrong_verdict() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let hosts = two();
    let link = hosts[0].link.clone();
    let translate = |action| {
        let rule = ["-s", "203.0.113.10", "-d", "10.245.0.0/16", "-j", "SNAT", "--to-source", &link];
        hosts[0].execute(&[&["iptables", "-t", "nat", action, "POSTROUTING"][..], &rule].concat());
    };
    translate("-A");
    let finished = run_with(&cluster, &hosts, &[&scenario_file("external-replies")]);
    translate("-D");
    let report = finished.json();
    assert_eq!((finished.code, accused(&report)), (Some(3), vec![]), "{}", finished.stderr);
    let from_office = |cell: &Value| cell["from"] == "external:office" && cell["to"] == "x/a";
    let mut causes = of_externals(&report);
    causes.retain(|(_, cell)| from_office(cell) && cell["family"] == "IPv4");
    let depends = |place: &str| place.contains("requests from one address");
    for (place, cell) in &causes {
        if depends(place) {
            assert!(cell["cause"].as_str().unwrap().contains(&format!("by {link}")), "{place}: {cell}");
        } else {
            // What says the same about every address is judged.
            assert_eq!(cell["verdict"], "match", "{place}: {cell}");
        }
    }
    assert_eq!(causes.iter().filter(|(place, _)| depends(place)).count(), 4);
}

/// One host stands for an external of its name, unless a policy tells their addresses apart.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn a_host_stands_for_an_external_of_its_name() {
    let Some(cluster) = Cluster::with_enforcer() else { return };
    let hosts = [Outside::start("internet", "192.0.2.77,2001:db8:77::77")];
    let scenarios = ["default-deny", "egress-gateway"].map(scenario_file);
    let finished = run_with(&cluster, &hosts, &scenarios.each_ref().map(String::as_str));
    check_passed(&finished);
    let found = of_externals(&finished.json());
    let of = |name: &str| found.iter().filter(move |(place, _)| place.starts_with(name)).collect::<Vec<_>>();
    assert!(of("default-deny").iter().all(|(_, cell)| cell["verdict"] == "match"), "{found:?}");
    let partner = of("egress-gateway").into_iter();
    let partner =
        partner.filter(|(_, cell)| cell["to"] == "external:partner" || cell["from"] == "external:partner");
    for (place, cell) in partner {
        assert_eq!(cell["verdict"], "skipped", "{place}: {cell}");
    }
}

/// Nothing may be created if an agent cannot be used.
#[test]
#[ignore = "needs a cluster: run tests/cluster/run"]
fn agents_that_cannot_be_used_are_refused() {
    let Some(cluster) = Cluster::with_nodes() else { return };
    let hosts = two();
    let refusal = |options: &[String], token: &str| {
        let scenario = scenario_file("default-deny");
        let mut arguments = vec![scenario.as_str()];
        arguments.extend(options.iter().map(String::as_str));
        let mut command = command(User::Root);
        let output = command.args(cluster.arguments(&arguments)).env("NETPROOF_TOKEN", token).output();
        let finished = Finished::from(output.unwrap());
        cluster.check_clean();
        finished.refusal()
    };
    let own = hosts[0].option();
    let unanswered = own.replace(":15119", ":15999");
    let node = cluster.kubectl(&["get", "node", "np-node1", "-o", "jsonpath={.status.addresses[0].address}"]);
    let other = ["1"; 32].concat();
    for (options, token, expected) in [
        (vec![unanswered], TOKEN, "no agent answers at"),
        (vec![own.clone()], other.as_str(), "401"),
        (vec![own.clone()], "short", "NETPROOF_TOKEN has 5 characters"),
        (vec![own.clone()], "", "NETPROOF_TOKEN is not set"),
        (vec![own.clone(), own.clone()], TOKEN, "the name is given twice"),
        (vec![hosts[0].option_at(&node)], TOKEN, "belongs to node np-node1"),
        (vec![hosts[0].option_at("10.245.1.9")], TOKEN, "belongs to node np-node1 or its pods"),
        // The same agent under two names.
        (
            vec![own.clone(), own.replace("office=203.0.113.10,2001:db8:0:10::1", "b=192.0.2.1")],
            TOKEN,
            "has the name of that of office",
        ),
    ] {
        let message = refusal(&options, token);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let _ = run(User::Root, ["cleanup", "--yes", "--context", &cluster.context]);
}
