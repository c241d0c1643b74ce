//! The lab on systems other than Linux: it has the same interface, and cannot be created.

use std::sync::Arc;

use crate::backend::{Agent, Backend, Canary, Error, Interference, Sentinels, Variants};
use crate::deviation::Fault;
use crate::world::{Action, Deployed, EndpointName, World};

/// A lab. No value of it exists.
#[derive(Debug)]
pub enum Lab {}

/// Location of this process after [`enter`].
#[derive(Debug)]
pub enum Entered {
    /// Inside the sandbox of the lab.
    Inside,
    /// Outside the sandbox. The inner process has ended with this exit code.
    Outside(u8),
}

/// Returns the error of every attempt to use the lab.
fn needs_linux() -> Error {
    Error::Unavailable(
        "the lab needs Linux, because its nodes and pods are network namespaces: on this system, netproof tests only \
         clusters: netproof run --backend cluster"
            .to_owned(),
    )
}

/// Refuses to enter the lab.
///
/// # Errors
/// Always.
pub fn enter() -> Result<Entered, Error> {
    Err(needs_linux())
}

/// Returns `None`, because this process is no agent of a lab.
pub fn run_agent() -> Option<u8> {
    None
}

impl Lab {
    /// Refuses to create a lab.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: Option<Fault>) -> Result<Self, Error> {
        Err(needs_linux())
    }

    /// Refuses to create a lab.
    ///
    /// # Errors
    /// Always.
    pub fn with_variants(_: impl IntoIterator<Item = Fault>) -> Result<Self, Error> {
        Err(needs_linux())
    }

    /// Cannot be called, because there is no lab.
    ///
    /// # Errors
    /// Never.
    #[expect(clippy::unused_async, reason = "that of the lab waits")]
    pub async fn interfere(&mut self, _: Interference, _: u64) -> Result<String, Error> {
        match *self {}
    }
}

impl Backend for Lab {
    async fn deploy(&mut self, _: &World) -> Result<Deployed, Error> {
        match *self {}
    }

    async fn apply(&mut self, _: &[Action], _: &World) -> Result<Deployed, Error> {
        match *self {}
    }

    fn agent(&self, _: &EndpointName) -> Option<Arc<Agent>> {
        match *self {}
    }

    fn canaries(&self) -> Vec<Canary> {
        match *self {}
    }

    fn sentinels(&self) -> Sentinels {
        match *self {}
    }

    async fn stop(self) {
        match self {}
    }
}

impl Variants for Lab {
    type Variant = Fault;

    fn differing(&self, _: &[Fault]) -> Vec<Fault> {
        match *self {}
    }

    async fn vary(&mut self, _: Option<Fault>) -> Result<(), Error> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_do_instead() {
        for error in [enter().unwrap_err(), Lab::new(None).unwrap_err(), Lab::with_variants([]).unwrap_err()]
        {
            let message = error.to_string();
            assert!(
                message.contains("the lab needs Linux") && message.contains("--backend cluster"),
                "{message}"
            );
        }
    }
}
