//! netproof proves that a Kubernetes cluster really enforces its NetworkPolicies.
//!
//! It compares three pictures of one network and never merges them: what the owners want
//! (**intent**), what the policies in force say (**expected**, from the policy engine), and what
//! packets do (**observed**, by probes between real endpoints).
//!
//! # The map
//!
//! Data flows one way: input → snapshot → policy model → plan → backend → verdict → document → report. A module
//! may import only those named in its line; a test holds the code to this table.
//!
//! | module | owns | may import |
//! |---|---|---|
//! | `policy` | the policy engine: its own types, selectors, evaluation; pure | – |
//! | `naive` | a second evaluator, on Kubernetes' own types, that random policies are held against | – |
//! | `source` | reading YAML and JSON so that every value knows its place | – |
//! | `generate` | random policies and scenarios from a seed | – |
//! | `snapshot` | the state of a cluster, from manifests or live; the only place that converts Kubernetes objects | `policy`, `source` |
//! | `expect` | the expected matrix of a snapshot; no packets | `policy`, `snapshot`, `source` |
//! | `tenants` | the intent: who the tenants are, and who may reach whom; pure | `policy`, `snapshot`, `source` |
//! | `world` | the network under test: endpoints, addresses, policies, and their changes | `policy`, `snapshot`, `source` |
//! | `plan` | the cells of a world, and the route of each probe | `policy`, `world` |
//! | `scenario` | the scenario format | `plan`, `policy`, `snapshot`, `source`, `world` |
//! | `select` | which of the scenarios that were read are run | `scenario`, `source`, `world` |
//! | `deviation` | the catalogue of ways to misread or miss a rule | `policy`, `snapshot` |
//! | `backend` | where packets are sent: the lab and clusters behind one interface | `deviation`, `image`, `plan`, `policy`, `scenario`, `snapshot`, `world` |
//! | `verdict` | intent × expected × observed, and the results made of it | `plan`, `policy`, `scenario`, `snapshot`, `world` |
//! | `profile` | known deviations of network plugins, as files | `deviation`, `plan`, `policy`, `scenario`, `source`, `verdict`, `world` |
//! | `diagnosis` | from differing cells to the deviations that predict them; pure | `deviation`, `plan`, `policy`, `profile`, `snapshot`, `verdict`, `world` |
//! | `observe` | rounds, settling, control rounds, and the evidence of each cell; knows no scenario | `backend`, `plan`, `policy`, `verdict`, `world` |
//! | `runner` | runs scenarios step by step; emits events and knows no report | `backend`, `diagnosis`, `observe`, `plan`, `policy`, `profile`, `scenario`, `verdict`, `world` |
//! | `verify` | tenants of a cluster as it is: twins, questions, and what tenants can do to each other | `backend`, `observe`, `plan`, `policy`, `snapshot`, `source`, `tenants`, `verdict`, `world` |
//! | `selftest` | the library against every fault of the lab | `backend`, `deviation`, `diagnosis`, `policy`, `runner`, `scenario`, `verdict`, `world` |
//! | `fuzz` | random scenarios: engine, naive evaluator and packets compared, differences shrunk, coverage | `backend`, `deviation`, `generate`, `naive`, `plan`, `policy`, `runner`, `scenario`, `snapshot`, `source`, `verdict`, `world` |
//! | `document` | plain data for reports, and one schema for each JSON document; what is read back has the same types | `deviation`, `diagnosis`, `expect`, `fuzz`, `policy`, `scenario`, `selftest`, `snapshot`, `source`, `tenants`, `verdict`, `verify` |
//! | `compare` | what changed between two runs; pure | `document` |
//! | `report` | documents as text for people, JSON and JUnit XML | `document` |
//! | `image` | the agent that netproof carries, and the probe image: its archive, and the tools that load it | – |
//! | `cli` | the commands, one a file; the only place that prints | everything |
//!
//! The agent that runs in every probe pod is a crate of its own, `netproof-probe`. Another one, `netproof-loader`, packs
//! it into one small file that runs without an image.

// The faults of the lab are in modules that other systems compile, too. `--cfg without_lab` imitates such a system.
#![cfg_attr(
    any(without_lab, not(target_os = "linux")),
    expect(dead_code, reason = "a netproof without the lab uses no fault")
)]

// `pub` is what tests, benches and the program need.
pub mod backend;
pub mod cli;
pub mod compare;
pub(crate) mod deviation;
pub mod diagnosis;
pub mod document;
pub mod expect;
pub mod fuzz;
pub mod generate;
pub mod image;
pub mod naive;
pub(crate) mod observe;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod report;
pub mod runner;
pub mod scenario;
pub(crate) mod select;
pub(crate) mod selftest;
pub mod snapshot;
pub mod source;
pub mod tenants;
pub mod verdict;
pub mod verify;
pub mod world;
