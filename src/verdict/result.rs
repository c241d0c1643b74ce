//! The results of steps, scenarios and runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::judge::Verdict;
use super::latency::{Settling, TimeToSettle};
use super::machine::Machines;
use super::observation::Observation;
use super::open::OpenConnection;
use super::power::Power;
use super::repeat::Repetitions;
use crate::plan::Cell;
use crate::policy::{Decision, Expectation};
use crate::profile::{KnownDeviation, Profile};
use crate::scenario::{Claim, Demonstrates, SpecRule};
use crate::snapshot::Unmodelled;
use crate::world::Capability;

/// The deviation of a profile that excuses a cell.
pub type Excuse = Arc<KnownDeviation>;

/// Until when a denied cell was delivered, where the settle time excuses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveredUntil {
    /// So long after a new pod's first answer: what was in force before it came isolates it from its first instant.
    AfterNewPod(Duration),
    /// So long after a change that leaves the denial as it is.
    AfterChange(Duration),
}

impl DeliveredUntil {
    /// How long that was.
    pub fn duration(self) -> Duration {
        match self {
            Self::AfterNewPod(duration) | Self::AfterChange(duration) => duration,
        }
    }
}

/// What a step found out about a cell.
#[derive(Debug, Clone)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// What the policies promise, and why.
    pub expected: Expectation,
    /// The deviation of a profile that leaves undefined what packets do, whatever the policies promise.
    pub excused: Option<Excuse>,
    /// What the scenario's author says they promise, if anything.
    pub asserted: Option<Claim>,
    /// What their owner wants, if that is said.
    pub intended: Option<Claim>,
    /// What the packets did; `None` if none could be sent.
    pub observed: Option<Observation>,
    /// What is true of it.
    pub verdict: Verdict,
    /// How many probes were sent.
    pub attempts: u32,
    /// How many of those were dropped on a path that was alive, if it is denied: what the denial rests on.
    pub silences: u32,
    /// How many of those were sent because an allowed probe had gone missing once.
    pub retries: u32,
    /// How long the step's change took to be in force; `None` if it changed nothing here, or if the
    /// packets did not do what is expected in the end.
    pub settled: Option<Settling>,
    /// Until when it was delivered, where it must not be even once and was denied in the end.
    pub delivered_until: Option<DeliveredUntil>,
    /// Where its ends are.
    pub machines: Machines,
    /// How many repetitions had which verdict, by its name, if not all had the same.
    pub repeated: BTreeMap<&'static str, usize>,
}

/// A cell where the owner's intent and the policies say different things.
#[derive(Debug, Clone, Copy)]
pub struct PolicyGap<'a> {
    /// The cell.
    pub cell: &'a CellResult,
    /// What is intended.
    pub intended: Claim,
}

impl CellResult {
    /// What packets should do: what the policies promise, unless a profile leaves it undefined.
    pub fn decision(&self) -> Decision {
        if self.excused.is_some() { Decision::Undefined } else { self.expected.decision }
    }

    /// Whether the author's assertion says something else than the policy engine.
    pub fn is_assertion_error(&self) -> bool {
        self.asserted.is_some_and(|asserted| asserted != self.expected.decision)
            && !self.expected.has_no_address()
    }

    /// Whether it claims something that a run has to judge: its author asserts it, or the policies deny it.
    pub fn is_claim(&self) -> bool {
        let is_asserted = self.asserted.is_some_and(|asserted| asserted != Decision::Undefined);
        is_asserted || self.expected.decision == Decision::Deny
    }

    /// Whether packets showed what is true of it.
    pub fn is_judged(&self) -> bool {
        match self.verdict {
            Verdict::Match | Verdict::Leak | Verdict::Blocked => true,
            Verdict::Flaky | Verdict::Undefined | Verdict::Skipped(_) | Verdict::Inconclusive(_) => false,
        }
    }

    /// Whether a known deviation is why it is not judged.
    pub fn is_excused(&self) -> bool {
        self.excused.is_some() && self.verdict == Verdict::Undefined
    }

    fn gap(&self) -> Option<PolicyGap<'_>> {
        let intended = self.intended?;
        (intended != self.expected.decision && !self.expected.has_no_address())
            .then_some(PolicyGap { cell: self, intended })
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Its name.
    pub name: String,
    /// The items of the semantics that it decides.
    pub items: BTreeSet<SpecRule>,
    /// All of its cells, in the order in which they are shown.
    pub cells: Vec<CellResult>,
    /// How long it took since the first answer of a pod that came with the step until it was isolated by
    /// what was in force before, and until it was admitted.
    pub new_pods: TimeToSettle,
    /// What became of the connections that were open before the step.
    pub open_connections: Vec<OpenConnection>,
    /// How long it took to hand the changes over to whoever enforces them.
    pub handed_over: Duration,
    /// How many rounds of probes were sent.
    pub rounds: u32,
    /// The share of probes that the network lost meanwhile, from 0 to 1.
    pub loss: f64,
    /// How long the step took in all.
    pub took: Duration,
}

impl StepResult {
    /// The cells where intent and policies differ.
    pub fn gaps(&self) -> impl Iterator<Item = PolicyGap<'_>> {
        self.cells.iter().filter_map(CellResult::gap)
    }

    /// The cells where the author and the policy engine differ.
    pub fn assertion_errors(&self) -> impl Iterator<Item = &CellResult> {
        self.cells.iter().filter(|cell| cell.is_assertion_error())
    }

    /// How many cells have which verdict.
    pub fn counts(&self) -> Counts {
        let cells = self.cells.iter().map(Counts::of).sum::<Counts>();
        Counts {
            gaps: self.gaps().count(),
            assertion_errors: self.assertion_errors().count(),
            late: self.cells.iter().filter(|cell| cell.is_late()).count(),
            ..cells
        }
    }

    /// What the step comes to.
    pub fn outcome(&self, demonstrates: Option<Demonstrates>) -> Outcome {
        self.counts().outcome(demonstrates)
    }
}

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// What it decides.
    pub description: String,
    /// The file that it was read from.
    pub file: Arc<str>,
    /// Set if it shows a mistake that has to be found.
    pub demonstrates: Option<Demonstrates>,
    /// The kinds of its manifests that have no part in NetworkPolicy, with their numbers.
    pub ignored: BTreeMap<String, usize>,
    /// The steps that were carried out.
    pub steps: Vec<StepResult>,
    /// Why the remaining steps were not.
    pub failure: Option<ScenarioFailure>,
    /// How long it took until the pods were there.
    pub start: Duration,
    /// How long to wait for an answer, as calibrated before the first step.
    pub timeout: Duration,
    /// How long the scenario took in all.
    pub took: Duration,
    /// How often it was carried out; `None` if it was asked for once.
    pub repetitions: Option<Repetitions>,
    /// What the run must have, whatever scenarios declare.
    pub required: BTreeSet<Capability>,
}

/// Why a scenario could not be carried out to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioFailure {
    /// Why.
    pub message: String,
    /// Whether the same would happen to every other scenario.
    pub everywhere: bool,
}

/// What a result comes to. The worst of several is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing was judged, or no denial of several, as declared: the place lacks what is required, or a profile
    /// excuses all of it.
    Skipped,
    /// Every claim was judged and holds, except those that were skipped or excused as declared.
    Pass,
    /// A claim was not judged, or something was flaky, and nothing is worse.
    Inconclusive,
    /// Leaks, blocked cells, policy gaps, assertion errors, changes that were in
    /// force too late, or a lack of what the run must have.
    Fail,
}

/// The exit code of a run that the user interrupted, as of a shell command that SIGINT ended.
const INTERRUPTED: u8 = 130;

impl Outcome {
    /// Returns the exit code that `--help` explains. No other place decides one.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            // A run that skips everything proves nothing.
            Self::Inconclusive | Self::Skipped => 3,
        }
    }

    /// Returns the exit code of something that the user may have interrupted.
    pub fn exit_code_unless(self, is_interrupted: bool) -> u8 {
        if is_interrupted { INTERRUPTED } else { self.exit_code() }
    }
}

impl ScenarioResult {
    /// How many cells have which verdict, over all steps.
    pub fn counts(&self) -> Counts {
        self.steps.iter().map(StepResult::counts).sum()
    }

    /// Whether a mistake that has to be found was not.
    pub fn misses_demonstration(&self) -> bool {
        match self.demonstrates {
            Some(Demonstrates::PolicyGap) => self.failure.is_none() && self.counts().gaps == 0,
            None => false,
        }
    }

    /// What the run must have and this scenario had to be without.
    pub fn lacking(&self) -> BTreeSet<Capability> {
        let skipped = self.steps.iter().flat_map(|step| &step.cells).filter_map(|cell| match cell.verdict {
            Verdict::Skipped(capability) => Some(capability),
            Verdict::Match
            | Verdict::Leak
            | Verdict::Blocked
            | Verdict::Flaky
            | Verdict::Undefined
            | Verdict::Inconclusive(_) => None,
        });
        skipped.filter(|capability| self.required.contains(capability)).collect()
    }

    /// What the scenario comes to.
    pub fn outcome(&self) -> Outcome {
        let outcome = self.counts().outcome(self.demonstrates);
        if self.misses_demonstration() || !self.lacking().is_empty() {
            Outcome::Fail
        } else if self.failure.is_some() {
            outcome.max(Outcome::Inconclusive)
        } else {
            outcome
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The scenarios, in the order in which they were given.
    pub scenarios: Vec<ScenarioResult>,
    /// How many scenarios were asked for, each counted once.
    pub asked: usize,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether the run ended because a scenario failed, and others were left.
    pub stopped: bool,
    /// The names of the scenarios that were not carried out, as often as they were not.
    pub unfinished: Vec<String>,
    /// Where packets were sent.
    pub environment: Environment,
    /// What was known of the network plugin.
    pub profiles: Vec<Profile>,
    /// The share of leaking connections, from 0 to 1, that had to be found at every enforcement point, if one was asked for.
    pub asked_share: Option<f64>,
    /// How long the run took in all.
    pub took: Duration,
}

/// What is wrong with a run as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Shortcoming {
    /// It had to be without what it must have.
    Lacking(BTreeSet<Capability>),
    /// So many scenarios or repetitions were not carried out.
    Unfinished(usize),
    /// There are objects without which the expected answers are not known.
    NotModelled,
    /// No denial was judged.
    NothingProved,
    /// Fewer probes were dropped somewhere than the share of leaking connections needs that was asked for.
    LessProved(LessProved),
}

/// Two shares of leaking connections, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LessProved {
    /// The smallest share that would have been found everywhere.
    pub found: f64,
    /// The share that was asked for, which is smaller.
    pub asked: f64,
}

/// Where packets were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// `lab`, and with which fault, or `cluster` and its name.
    pub name: String,
    /// What is worth knowing of it: pairs of a name and a value.
    pub facts: Vec<(String, String)>,
    /// What may decide about packets although the verdicts do not know of it.
    pub warnings: Vec<String>,
    /// The kinds of which there are objects without which the expected answers are not known.
    pub unmodelled: Vec<Unmodelled>,
    /// All nodes of a cluster, with the versions of their kubelets; none in the lab.
    pub nodes: BTreeMap<String, String>,
}

impl RunResult {
    /// How many cells have which verdict, over all scenarios.
    pub fn counts(&self) -> Counts {
        self.scenarios.iter().map(ScenarioResult::counts).sum()
    }

    /// What the run comes to. A pass has to prove something: at least one denial.
    pub fn outcome(&self) -> Outcome {
        let worst = self.scenarios.iter().map(ScenarioResult::outcome).max().unwrap_or(Outcome::Skipped);
        // What is lacking has failed its scenarios already.
        if self.shortcomings().is_empty() { worst } else { worst.max(Outcome::Inconclusive) }
    }

    /// Returns the exit code that the run leads to.
    pub fn exit_code(&self) -> u8 {
        self.outcome().exit_code_unless(self.interrupted)
    }

    /// What the run must have and its scenarios had to be without.
    pub fn lacking(&self) -> BTreeSet<Capability> {
        self.scenarios.iter().flat_map(ScenarioResult::lacking).collect()
    }

    /// How many claims were skipped for want of each capability.
    pub fn skipped(&self) -> BTreeMap<Capability, usize> {
        let mut skipped = BTreeMap::new();
        for cell in self.scenarios.iter().flat_map(|s| &s.steps).flat_map(|step| &step.cells) {
            if let Verdict::Skipped(capability) = cell.verdict
                && cell.is_claim()
            {
                *skipped.entry(capability).or_default() += 1;
            }
        }
        skipped
    }

    /// What the denials of the run rest on.
    pub fn power(&self) -> Power {
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        steps.map(StepResult::power).fold(Power::default(), Power::plus)
    }

    /// Whether objects decide here that netproof does not model, and that the user does not accept.
    pub fn lacks_a_model(&self) -> bool {
        self.environment.unmodelled.iter().any(|kind| !kind.is_accepted)
    }

    /// What is wrong with the run as a whole, whatever its steps show.
    pub fn shortcomings(&self) -> Vec<Shortcoming> {
        let left = self.unfinished.len().max(self.asked.saturating_sub(self.scenarios.len()));
        let all = [
            Some(self.lacking()).filter(|lacking| !lacking.is_empty()).map(Shortcoming::Lacking),
            (self.interrupted || left > 0).then_some(Shortcoming::Unfinished(left)),
            self.lacks_a_model().then_some(Shortcoming::NotModelled),
            self.counts().proves_nothing().then_some(Shortcoming::NothingProved),
            self.less_proved().map(Shortcoming::LessProved),
        ];
        all.into_iter().flatten().collect()
    }

    /// How much less the run proves than it was asked for; `None` if it does not.
    pub fn less_proved(&self) -> Option<LessProved> {
        let (asked, power) = (self.asked_share?, self.power());
        power.falls_short_of(asked).then_some(LessProved { found: power.detectable_share, asked })
    }

    /// Why nothing could be carried out, if so.
    pub fn failure(&self) -> Option<&ScenarioFailure> {
        if self.scenarios.iter().any(|scenario| !scenario.steps.is_empty()) {
            // What was found out until then counts.
            return None;
        }
        let mut failures = self.scenarios.iter().filter_map(|scenario| scenario.failure.as_ref());
        failures.find(|failure| failure.everywhere)
    }
}
