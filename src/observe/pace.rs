//! The pace of connections to programs of others: at most one a second to each address and port.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::world::EndpointName;

/// Time between two connections to one program. A tenth more than promised, because a busy network may bring them closer
/// together.
const INTERVAL: Duration = Duration::from_millis(1_100);

/// When programs of others were last connected to.
#[derive(Debug, Default)]
pub(super) struct Pace(HashMap<SocketAddr, Instant>);

impl Pace {
    /// Waits until each of these programs may be connected to, and records that it is now.
    pub(super) async fn wait(&mut self, programs: &HashSet<SocketAddr>) {
        let due = programs.iter().filter_map(|program| self.0.get(program)).max();
        if let Some(last) = due {
            tokio::time::sleep(INTERVAL.saturating_sub(last.elapsed())).await;
        }
        let now = Instant::now();
        self.0.extend(programs.iter().map(|program| (*program, now)));
    }
}

/// Returns whether a destination without an agent is a program of a workload, and not one of the cluster itself.
pub(super) fn is_workload(destination: &EndpointName) -> bool {
    match destination {
        EndpointName::Pod { .. } => true,
        EndpointName::Service { .. } => !destination.is_api_server(),
        EndpointName::Node(_) | EndpointName::External(_) => false,
    }
}

/// Splits items into waves, in order. Each item connects to one of its programs. In each wave, a program occurs at most
/// once. Items without programs are in the first wave. Returns at least one wave, with its programs.
pub(super) fn waves<T>(
    items: impl IntoIterator<Item = (T, Vec<SocketAddr>)>,
) -> Vec<(Vec<T>, HashSet<SocketAddr>)> {
    let mut waves = vec![(Vec::new(), HashSet::new())];
    let mut next = HashMap::<SocketAddr, usize>::new();
    for (item, programs) in items {
        let at = programs.iter().filter_map(|program| next.get(program)).max().copied().unwrap_or_default();
        next.extend(programs.iter().map(|program| (*program, at + 1)));
        if waves.len() <= at {
            waves.push((Vec::new(), HashSet::new()));
        }
        if let Some((items, of_wave)) = waves.get_mut(at) {
            items.push(item);
            of_wave.extend(programs);
        }
    }
    waves
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_wave_connects_to_each_program_once() {
        let program = |port| vec![SocketAddr::from(([10, 0, 0, 1], port))];
        let items =
            [("a", program(80)), ("b", vec![]), ("c", program(80)), ("d", program(81)), ("e", program(80))];
        let found: Vec<Vec<&str>> = waves(items).into_iter().map(|(items, _)| items).collect();
        assert_eq!(found, [vec!["a", "b", "d"], vec!["c"], vec!["e"]]);
        assert_eq!(waves::<&str>([]).len(), 1);
    }

    /// Regression: a pod was connected to twice at the same time, once through its Service.
    #[test]
    fn a_service_shares_the_pace_of_its_pods() {
        let pods = [80, 81].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let items = [("pod", vec![pods[1]]), ("service", pods.to_vec()), ("other pod", vec![pods[0]])];
        let found: Vec<Vec<&str>> = waves(items).into_iter().map(|(items, _)| items).collect();
        assert_eq!(found, [vec!["pod"], vec!["service"], vec!["other pod"]]);
    }

    #[tokio::test]
    async fn the_second_connection_waits() {
        let program = HashSet::from([SocketAddr::from(([10, 0, 0, 1], 80))]);
        let mut pace = Pace::default();
        let start = Instant::now();
        assert!(pace.wait(&program).now_or_never().is_some(), "the first connection waits");
        pace.wait(&program).await;
        assert!(start.elapsed() >= INTERVAL);
    }
}
