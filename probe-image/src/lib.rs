//! The probe agent, which runs in every probe pod, and in every pod of the lab.
//!
//! An agent opens listeners on request, sends batches of probes, and records what arrives at its listeners. It is
//! controlled through a small HTTP API on loopback, which a token protects. [`wire`] has the types of the API. A
//! client needs nothing else, and no Linux.

#[cfg(target_os = "linux")]
pub mod agent;
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the agent signs"))]
mod mac;
#[cfg(target_os = "linux")]
mod payload;
pub mod random;
pub mod wire;
