//! How long changes may take, on the command line.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::verdict::Limits;

/// How long changes may take to be in force.
#[derive(Debug, Args)]
pub(super) struct LimitOptions {
    /// Fail if a new denial takes longer to be enforced
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    enforce_within: Option<Duration>,

    /// Fail if a new allowance takes longer to be admitted
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    admit_within: Option<Duration>,
}

impl LimitOptions {
    pub(super) fn limits(&self) -> Limits {
        Limits { enforce: self.enforce_within, admit: self.admit_within }
    }
}
