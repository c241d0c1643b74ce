//! Helpers of the tests: they run the program, write manifests and scenarios, and read reports.

mod library;
mod manifests;
mod program;
mod report;

pub(crate) use library::{BASICS, library, scenario_file};
pub(crate) use manifests::{
    cluster_policy, kubeconfig, object, pod, pod_in, pods, policy, policy_step, scenario, service, workload,
};
pub(crate) use program::{
    Finished, User, command, copy_folder, file, folder, is_root, netproof, program, run, run_json, signal,
    writable_file,
};
pub(crate) use report::{cells, ends, step_cells};
