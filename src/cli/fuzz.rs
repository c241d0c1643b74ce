//! `netproof fuzz`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::run::{RunOptions, carry_out};
use super::{Exit, output};
use crate::generate;
use crate::scenario;
use crate::source::Text;

/// Compare the policy engine with packets over random policies
///
/// Makes random policies, labels, named ports and Services over namespaces x, y and z with pods a, b
/// and c, carries them out in the lab, and reports every cell in which engine and packets differ.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FuzzArgs {
    /// How many random sets of policies to try
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    cases: usize,

    /// Where randomness begins: the same seed gives the same cases [default: another every time]
    #[arg(long)]
    seed: Option<u64>,

    /// Write every scenario in which something differs to this folder
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,

    #[command(flatten)]
    options: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  netproof fuzz                            200 random sets of policies
  netproof fuzz --cases 1000 --seed 7      repeatable
  netproof fuzz --save found/              keep what differs as scenario files";

/// How many cases one lab is used for: its topology is random, too.
const CASES_PER_SCENARIO: usize = 20;

pub(super) fn fuzz(args: &FuzzArgs) -> anyhow::Result<Exit> {
    if let Some(code) = args.options.enter()? {
        return Ok(Exit::Code(code));
    }
    let first_seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    output::note(&format!("seed {first_seed}, {} cases", args.cases));
    let mut texts = Vec::new();
    let mut left = args.cases;
    while left > 0 {
        let cases = left.min(CASES_PER_SCENARIO);
        let seed = first_seed + texts.len() as u64;
        let content = serde_json::to_string_pretty(&generate::scenario(seed, cases, generate::Ground::Lab))?;
        texts.push(Text { name: format!("random-{seed}.yaml").into(), content });
        left -= cases;
    }
    let scenarios = scenario::load(&texts)?;
    let result = carry_out(&args.options, &scenarios)?;
    if let Some(folder) = &args.save {
        for (text, scenario) in texts.iter().zip(&result.scenarios) {
            if scenario.outcome() != crate::verdict::Outcome::Pass {
                let path = folder.join(&*text.name);
                std::fs::create_dir_all(folder)
                    .and_then(|()| std::fs::write(&path, &text.content))
                    .with_context(|| format!("--save {}", path.display()))?;
                output::note(&format!("saved {}", path.display()));
            }
        }
    }
    args.options.report(&result)
}
