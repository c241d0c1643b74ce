//! How well a diagnosis names a fault.

use crate::deviation::Fault;
use crate::diagnosis::{Cause, Diagnosis};

/// What the cells of a fault are blamed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blamed {
    /// How well the diagnosis names the fault.
    pub accuracy: Accuracy,
    /// The explanations: each is a list of equivalent sets of causes, by name.
    pub explanations: Vec<Vec<String>>,
    /// Count of differing cells.
    pub cells: usize,
    /// Count of differing cells that nothing explains.
    pub unexplained: usize,
}

/// How well a diagnosis names a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accuracy {
    /// Only the fault explains the cells.
    Itself,
    /// The fault and others explain the cells, and the scenarios do not tell them apart.
    Equivalent,
    /// The fault is not among the explanations of all cells.
    Missed,
}

impl Blamed {
    /// Compares a diagnosis with the fault that it is about.
    pub(super) fn new(fault: Fault, diagnosis: &Diagnosis) -> Self {
        let explanations: Vec<Vec<String>> = diagnosis
            .explanations
            .iter()
            .map(|explanation| {
                let members = [&explanation.causes].into_iter().chain(&explanation.alternatives);
                let name = |causes: &Vec<Cause>| {
                    causes.iter().map(|cause| cause.name.as_str()).collect::<Vec<_>>().join(" and ")
                };
                members.map(name).collect()
            })
            .collect();
        let whole =
            explanations.first().filter(|_| explanations.len() == 1 && diagnosis.unexplained.is_empty());
        let accuracy =
            match whole.map(|members| (members.iter().any(|name| name == fault.name), members.len())) {
                Some((true, 1)) => Accuracy::Itself,
                Some((true, _)) => Accuracy::Equivalent,
                Some((false, _)) | None => Accuracy::Missed,
            };
        Self {
            accuracy,
            explanations,
            cells: diagnosis.leaks + diagnosis.blocked,
            unexplained: diagnosis.unexplained.len(),
        }
    }
}
