//! Connections that were open before a step. The specification leaves to the implementation what becomes of
//! them, so they are reported and never fail.

use crate::plan::Cell;
use crate::policy::Decision;

/// A connection that was open before a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConnection {
    /// Ends, and port.
    pub cell: Cell,
    /// What the policies say after the step about a new connection. `None` if there can be none.
    pub decision: Option<Decision>,
    /// What became of the connection.
    pub fate: Fate,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The connection could still be used.
    Survived,
    /// No answer came back over the connection any more.
    Cut,
    /// The step removed an end.
    Ended,
    /// The connection could not be opened, or an agent failed, for this reason.
    NotMeasured(String),
}
