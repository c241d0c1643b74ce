//! The probe agent: what netproof runs in every probe pod, and in every pod of the lab.
//!
//! One agent opens listeners on request, sends batches of probes, and remembers what arrived at
//! its listeners. It is driven through a small HTTP API on loopback, guarded by a token; [`wire`]
//! has its types, which are all that a client needs.

pub mod agent;
mod mac;
mod payload;
pub mod random;
pub mod wire;
