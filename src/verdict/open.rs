//! Connections that were open before a step changed something. What becomes of them is left to the
//! implementation: it is told, and never a reason to fail.

use crate::plan::Cell;
use crate::policy::Decision;

/// What became of a connection that was open before a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConnection {
    /// Between whom, and to which port.
    pub cell: Cell,
    /// What the policies say about a new connection of the same kind after the step; `None` if there can be
    /// none any more.
    pub decision: Option<Decision>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It could still be used.
    Survived,
    /// Nothing came back over it any more.
    Cut,
    /// The step removed one of its ends.
    Ended,
    /// It could not be opened, or an agent failed. Holds the reason.
    NotMeasured(String),
}

impl Fate {
    /// As reports write it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Survived => "survived",
            Self::Cut => "cut",
            Self::Ended => "ended",
            Self::NotMeasured(_) => "not-measured",
        }
    }
}
