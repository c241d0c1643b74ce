//! All integration tests, in one binary: one link, on two cores.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::unreachable,
    reason = "a test that cannot go on has failed"
)]

mod action;
mod agent;
mod any_input;
mod bad_input;
mod cluster;
mod compare;
mod coverage;
mod diagnosis;
mod diagnostics;
mod differential;
mod docs;
mod evidence;
mod expect;
mod fuzz;
mod hostile;
mod image;
mod incremental;
mod interference;
mod lab;
mod latency;
mod map;
mod oracle;
mod profile;
mod readings;
mod readme;
mod reported;
mod reports;
mod saved;
mod select;
mod selftest;
mod services;
mod support;
mod tenants;
mod unknown_facts;
mod unmodelled;
mod verify;
