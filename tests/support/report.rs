//! Cells of JSON reports.

use serde_json::Value;

use super::Finished;

/// Returns all cells of a report, each with `SCENARIO › STEP`.
pub(crate) fn cells(report: &Value) -> Vec<(String, Value)> {
    let mut cells = Vec::new();
    for scenario in report["scenarios"].as_array().unwrap() {
        for step in scenario["steps"].as_array().unwrap() {
            let place = [scenario, step].map(|part| part["name"].as_str().unwrap()).join(" › ");
            cells.extend(step["cells"].as_array().unwrap().iter().map(|cell| (place.clone(), cell.clone())));
        }
    }
    cells
}

/// Returns the cells of a step of the first scenario.
pub(crate) fn step_cells(report: &Value, step: usize) -> &Vec<Value> {
    let cells = report["scenarios"][0]["steps"][step]["cells"].as_array();
    cells.unwrap_or_else(|| unreachable!("there is no step {step}: {report}"))
}

/// Returns both ends of a cell, the family and the probe.
pub(crate) fn ends(cell: &Value) -> String {
    ["from", "to", "family", "probe"].map(|field| cell[field].as_str().unwrap()).join(" ")
}

impl Finished {
    /// Returns all cells of a report in which every scenario was run to its end, each with `SCENARIO › STEP`.
    #[track_caller]
    pub(crate) fn cells(&self) -> Vec<(String, Value)> {
        let report = self.json();
        for scenario in report["scenarios"].as_array().unwrap() {
            assert_eq!(scenario["failure"], Value::Null, "{}", scenario["name"]);
        }
        cells(&report)
    }
}
