//! `netproof compare`, and the comparison of a run with an earlier one

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::conclusion::Conclusion;
use super::{Format, output, value};
use crate::compare::compare as compare_runs;
use crate::document::{RunDocument, Thresholds};
use crate::report;

/// Show what regressed, what was fixed and what became slower between two runs
///
/// Reads two results of `netproof run -o json`, for example from before and after an upgrade. Only new
/// differences count: a leak that the earlier run had, too, is listed, and does not fail the comparison.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompareArgs {
    /// The result of the earlier run
    before: PathBuf,

    /// The result of the later run
    after: PathBuf,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    thresholds: ThresholdOptions,
}

const EXAMPLES: &str = "\
Exit codes:
  0  nothing new is wrong
  1  something regressed, or with --fail-slower became slower; or the later run lacks what its --require names
  2  usage error, or a file that is no result
  3  nothing worse than cells that are uncertain, a later run that ended early, judged no denial or
     proves less than its --confidence asks for, or two runs that have nothing in common

Examples:
  netproof run --backend cluster -o json >before.json    before the upgrade
  netproof run --backend cluster -o json >after.json     after it
  netproof compare before.json after.json
  netproof compare before.json after.json --fail-slower --slower-by 2s
  netproof run --backend cluster --baseline before.json  the last two in one go";

/// The differences that count as slower.
#[derive(Debug, Args)]
pub(super) struct ThresholdOptions {
    /// Fail if something became slower
    #[arg(long)]
    fail_slower: bool,

    /// A change is slower if it takes more than this many times as long [default: 2]
    #[arg(long, value_name = "TIMES", value_parser = value::factor)]
    slower_factor: Option<f64>,

    /// A change is slower only if it takes longer by more than this time [default: 500ms]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    slower_by: Option<Duration>,
}

impl ThresholdOptions {
    fn thresholds(&self) -> Thresholds {
        let Thresholds { factor, by, .. } = Thresholds::default();
        Thresholds {
            factor: self.slower_factor.unwrap_or(factor),
            by: self.slower_by.unwrap_or(by),
            fail: self.fail_slower,
        }
    }

    /// Returns an option that the user has set.
    fn given(&self) -> Option<&'static str> {
        let given = [
            (self.fail_slower, "--fail-slower"),
            (self.slower_factor.is_some(), "--slower-factor"),
            (self.slower_by.is_some(), "--slower-by"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }
}

pub(super) fn compare(args: &CompareArgs, everything: bool) -> anyhow::Result<ExitCode> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let comparison = compare_runs(&before, &after, args.thresholds.thresholds());
    output::result(&match args.output {
        Format::Table => report::comparison(&comparison, everything),
        Format::Json => report::json(&comparison)?,
    })?;
    Ok(ExitCode::from(comparison.exit_code))
}

fn read(path: &Path) -> anyhow::Result<RunDocument> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    Ok(RunDocument::parse(&name, &text)?)
}

/// The comparison of a run with an earlier one.
#[derive(Debug, Args)]
pub(super) struct BaselineOptions {
    /// Compare with the result of an earlier run (-o json). Then only new differences decide the exit code, as
    /// with `netproof compare`
    #[arg(long, value_name = "FILE.json")]
    baseline: Option<PathBuf>,

    #[command(flatten)]
    thresholds: ThresholdOptions,
}

impl BaselineOptions {
    /// Reads the earlier result. Must be called before the run, because an hour later is too late to report a
    /// wrong file.
    pub(super) fn read(&self) -> anyhow::Result<Option<RunDocument>> {
        if let (None, Some(option)) = (&self.baseline, self.thresholds.given()) {
            anyhow::bail!("{option} compares with an earlier run: add --baseline FILE.json");
        }
        self.baseline.as_deref().map(read).transpose()
    }

    /// Returns a run and its comparison with an earlier one, as they are printed.
    pub(super) fn conclude(
        &self,
        before: &RunDocument,
        mut run: RunDocument,
        format: Format,
        everything: bool,
    ) -> anyhow::Result<Conclusion> {
        run.check()?;
        let comparison = compare_runs(before, &run, self.thresholds.thresholds());
        let code = comparison.outcome.exit_code_unless(run.interrupted);
        let text = match format {
            Format::Table => {
                let changes = report::comparison(&comparison, everything);
                format!("{changes}\nThis run\n\n{}", report::terminal(&run, everything))
            }
            Format::Json => {
                run.comparison = Some(Box::new(comparison));
                report::json(&run)?
            }
        };
        Ok(Conclusion { text, code })
    }
}
