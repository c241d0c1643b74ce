//! What a state showed of each cell.

use crate::verdict::CellResult;

/// What a state showed of a cell.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The result, without what the author or the owner says about the cell.
    pub(crate) result: CellResult,
    /// Whether the result is about one endpoint of the cell's Service.
    pub(crate) is_of_endpoint: bool,
}
