//! Follows up a disagreement: checks whether it happens again, and finds the smallest scenario that shows it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::compare::{Differs, Disagreement, compare};
use super::describe::{CaseName, describe};
use super::dry_run::{self, Case, ask_cell, read};
use super::edit::focused;
use super::flatten::flatten;
use super::limits::Limits;
use super::recording::Runner;
use super::shrink::{Budget, Shrunk, shrink};
use super::world::Naive;
use crate::backend::{Backend, Error};
use crate::generate::Ground;
use crate::plan::{Router, cells};
use crate::policy::{Decision, Engine};
use crate::scenario::Scenario;
use crate::source::to_yaml;

/// Maximum number of scenarios that are run to shrink one.
const TRIES: usize = 300;
/// Maximum time for shrinking.
const TIME: Duration = Duration::from_secs(180);

/// A disagreement, and the random scenario, up to the step of its case.
pub(super) struct Suspect {
    pub(super) found: Found,
    pub(super) scenario: Value,
}

/// A case with a disagreement, and what following it up showed.
#[derive(Debug, Clone)]
pub struct Found {
    /// The case in which it was found.
    pub case: CaseName,
    /// The disagreement for the first such cell of the case.
    pub disagreement: Disagreement,
    /// Number of cells of the case with a disagreement.
    pub cells: usize,
    /// The smallest scenario that shows it; `None` if it was not followed up, or did not happen again.
    pub shown: Option<Shown>,
    /// Number of scenarios that were run to follow it up.
    pub tries: usize,
}

/// A scenario that shows a disagreement.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The scenario file.
    pub text: String,
    /// Whether nothing more can be left out of it. If `false`, the tries or the time were used up.
    pub is_minimal: bool,
}

/// Follows up a disagreement.
pub(super) async fn follow<B: Backend>(
    runner: &Runner<'_, impl Fn(&Scenario) -> Result<B, Error>>,
    limits: &Limits,
    Suspect { mut found, scenario }: Suspect,
) -> Found {
    let wanted = Wanted { found: &found.disagreement, ground: limits.ground };
    for start in wanted.starts(&scenario) {
        found.tries += 1;
        if !wanted.shows(runner, std::slice::from_ref(&start)).await.contains(&true) {
            continue;
        }
        let budget = Budget { tries: TRIES, time: TIME, at_once: runner.settings.parallel };
        let is_plausible = |value: &Value| wanted.is_plausible(value);
        let shows = async |group: &[Value]| wanted.shows(runner, group).await;
        let Shrunk { scenario, is_minimal, tries } = shrink(start, budget, is_plausible, shows).await;
        found.tries += tries;
        let described = describe(&scenario, found.case, &limits.place, &found.disagreement);
        found.shown = Some(Shown { text: to_yaml(&described), is_minimal });
        break;
    }
    found
}

/// The disagreement that a scenario must show.
struct Wanted<'a> {
    found: &'a Disagreement,
    ground: Ground,
}

impl Wanted<'_> {
    /// Returns the scenarios to start from, the smallest first: the last state with only what the cell needs, the
    /// last state, and the same two for the whole scenario.
    fn starts(&self, scenario: &Value) -> Vec<Value> {
        let still = read(scenario)
            .ok()
            .and_then(|scenario| dry_run::cases(&scenario).ok()?.pop())
            .map(|case| flatten(&case.world, &case.probes));
        let focused_still = still.as_ref().map(|still| focused(still, &self.found.cell));
        let starts =
            [focused_still, still, Some(focused(scenario, &self.found.cell)), Some(scenario.clone())];
        starts.into_iter().flatten().filter(|start| self.is_plausible(start)).collect()
    }

    /// Returns whether a scenario may show the disagreement, as far as that is known without packets.
    fn is_plausible(&self, value: &Value) -> bool {
        let Some(case) = read(value).ok().and_then(|scenario| dry_run::cases(&scenario).ok()?.pop()) else {
            return false;
        };
        let Some((engine, naive)) = self.decisions(&case) else { return false };
        match (self.found.differs, self.ground) {
            (Differs::Packets, Ground::Lab) => engine == self.found.engine && naive == self.found.naive,
            // A cluster has other addresses than the dry run, so its decisions may differ.
            (Differs::Packets, Ground::Cluster) => true,
            (Differs::Engine | Differs::Naive | Differs::Evaluators, _) => engine != naive,
        }
    }

    fn decisions(&self, case: &Case) -> Option<(Decision, Decision)> {
        let cell = &self.found.cell;
        if !cells(&case.world, &case.probes).contains(cell) {
            return None;
        }
        let engine = Engine::new(case.world.cluster.clone());
        let router = Router::new(&case.world, &engine);
        let naive = Naive::new(&case.world).decide(cell)?;
        Some((ask_cell(&engine, &router, cell).decision, naive))
    }

    /// Returns which of some plausible scenarios show the disagreement. If it is not about packets, all of them do.
    async fn shows<B: Backend>(
        &self,
        runner: &Runner<'_, impl Fn(&Scenario) -> Result<B, Error>>,
        group: &[Value],
    ) -> Vec<bool> {
        match self.found.differs {
            Differs::Engine | Differs::Naive | Differs::Evaluators => vec![true; group.len()],
            Differs::Packets => {
                let running: Vec<_> =
                    group.iter().map(|value| self.shows_in_packets(runner, value)).collect();
                stream::iter(running).buffered(group.len().max(1)).collect().await
            }
        }
    }

    async fn shows_in_packets<B: Backend>(
        &self,
        runner: &Runner<'_, impl Fn(&Scenario) -> Result<B, Error>>,
        value: &Value,
    ) -> bool {
        let Ok(scenario) = read(value) else { return false };
        let Some(ran) = runner.run(&scenario).await else { return false };
        let last_step = scenario.steps.len().saturating_sub(1);
        let steps = ran.attempts.iter().filter_map(|attempt| attempt.step(last_step));
        let Disagreement { cell, engine, naive, .. } = self.found;
        steps.flat_map(|step| compare(&step)).any(|other| {
            let is_same = other.differs == Differs::Packets && other.cell == *cell;
            is_same && other.engine == *engine && other.naive == *naive
        })
    }
}
