//! The report of a self-test: which scenarios detect which faults.

use std::fmt::Write;

use serde_json::{Value, json};

use super::escape::{self, Plain};
use super::json::ScenarioDocument;
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, paint};
use super::terminal;
use crate::deviation::Fault;
use crate::selftest::{ENOUGH, ScenarioTrial, SelfTest};

/// The report for people: the verdict, what is undetected, what detects nothing, and the matrix.
pub fn selftest(result: &SelfTest) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", verdict(result));
    for (fault, why) in unmeasurable(result) {
        let _ = writeln!(text, "not measurable here: {fault} ({})", Plain(why));
    }
    section(&mut text, "Undetected faults", "what they do would not be noticed: more cases are needed", {
        result.undetected().into_iter().map(|fault| {
            let cases = count(result.cases(fault), "case", "cases");
            format!("{fault} ({cases}): {}", fault.explanation)
        })
    });
    section(&mut text, "Accused without a fault", "they do not pass where enforcement is right", {
        result.accusing().into_iter().map(|trial| trial.scenario.clone())
    });
    text.push_str(&terminal::findings(&result.run_of(result.accusing())));
    section(&mut text, "Run again", "inconclusive at first, for these reasons", {
        result.unmeasured.iter().map(|trial| trial.scenario.clone())
    });
    text.push_str(&terminal::findings(&result.run_of(&result.unmeasured)));
    section(&mut text, "Scenarios that detect nothing", "no fault shows in them", {
        result.idle().into_iter().map(str::to_owned)
    });
    matrix(&mut text, result);
    text
}

/// What it comes to, in a sentence without colours.
fn summary(result: &SelfTest) -> String {
    let undetected = result.undetected().len();
    let shown = result.faults.len() - undetected - unmeasurable(result).count();
    let detected = match undetected {
        0 => format!("each of {} is detected by at least {ENOUGH} cases", count(shown, "fault", "faults")),
        _ => format!("{} not detected by {ENOUGH} cases", count(undetected, "fault is", "faults are")),
    };
    let accused = match result.accusing().len() {
        0 => "no fault is reported without one".to_owned(),
        accusing => format!("{} without one", count(accusing, "scenario fails", "scenarios fail")),
    };
    format!("{detected}, and {accused}")
}

/// The faults that this machine's kernel cannot show, and why.
fn unmeasurable(result: &SelfTest) -> impl Iterator<Item = (Fault, &str)> {
    result.faults.iter().filter_map(|fault| Some((*fault, result.unmeasurable(*fault)?)))
}

fn verdict(result: &SelfTest) -> String {
    let (style, word) = if result.is_passed() { (GOOD, "PASS") } else { (BAD, "FAIL") };
    let scope = format!(
        "{} in {}, {} (lab)",
        count(result.case_count(), "case", "cases"),
        count(result.scenarios.len(), "scenario", "scenarios"),
        duration(result.took)
    );
    format!("{}  {}: {scope}", paint(style, word), summary(result))
}

fn section(text: &mut String, title: &str, meaning: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n{}  {}", paint(UNSURE, title), paint(FAINT, meaning));
    for line in lines {
        let _ = writeln!(text, "  {}", Plain(line));
    }
}

/// Faults by scenarios.
fn matrix(text: &mut String, result: &SelfTest) {
    let explanation = "# detected, . enforced otherwise but not seen, blank: makes the same rules";
    let _ = writeln!(text, "\n{}  {}", paint(STRONG, "Faults × scenarios"), paint(FAINT, explanation));
    let widest = result.faults.iter().map(|fault| fault.name.len()).max().unwrap_or_default();
    let numbers: Vec<_> = (1..=result.scenarios.len()).collect();
    for divisor in [10, 1] {
        let digit = |number: &usize| match (divisor, number / divisor) {
            (10, 0) => " ".to_owned(),
            (_, digits) => (digits % 10).to_string(),
        };
        let digits: String = numbers.iter().map(digit).collect();
        if !digits.trim().is_empty() {
            let _ = writeln!(text, "{:widest$}       {digits}", "");
        }
    }
    let mut faults = result.faults.clone();
    // Those that least detect first.
    faults.sort_by_key(|fault| result.detecting(*fault));
    for fault in faults {
        let row: String = result.scenarios.iter().map(|trial| mark(trial, fault)).collect();
        let row = format!("{:widest$}  {:>3}  {row}", fault.name, result.detecting(fault));
        let _ = writeln!(text, "{}", row.trim_end());
    }
    let _ = writeln!(text);
    for (number, trial) in numbers.iter().zip(&result.scenarios) {
        let detected = result.faults.iter().filter(|fault| trial.detects(**fault)).count();
        let _ = writeln!(text, "{number:>3}  {} ({detected})", Plain(&trial.scenario));
    }
}

fn mark(trial: &ScenarioTrial, fault: Fault) -> char {
    match trial.detection(fault) {
        None => ' ',
        Some(_) if trial.detects(fault) => '#',
        Some(_) => '.',
    }
}

/// The faults in a table of Markdown, each with what detects it.
pub fn selftest_markdown(result: &SelfTest) -> String {
    let mut text = format!(
        "{} cases in {} scenarios against {} faults: {}.",
        result.case_count(),
        result.scenarios.len(),
        result.faults.len(),
        summary(result)
    );
    for (fault, _) in unmeasurable(result) {
        let _ = write!(text, " `{fault}` cannot be shown on this kernel.");
    }
    text.push_str("\n\n");
    let _ = writeln!(text, "| fault | what goes wrong | items | detected by |\n|---|---|---|---|");
    for fault in &result.faults {
        let items: Vec<_> = fault.items.iter().map(u8::to_string).collect();
        let detected = match result.unmeasurable(*fault) {
            Some(_) => "not measurable on this kernel".to_owned(),
            None => count(result.detecting(*fault), "scenario", "scenarios"),
        };
        let seen = fault.seen.map(|seen| format!(" (seen: {seen})")).unwrap_or_default();
        let (name, explanation) = (fault.name, fault.explanation);
        let _ = writeln!(text, "| `{name}` | {explanation}{seen} | {} | {detected} |", items.join(", "));
    }
    text
}

/// Everything, for machines.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn selftest_json(result: &SelfTest) -> serde_json::Result<String> {
    let names = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.name).collect::<Vec<_>>();
    let fault = |fault: &Fault| {
        let detections = result.scenarios.iter().filter_map(|trial| {
            let detection = trial.detection(*fault)?;
            Some(json!({
                "scenario": trial.scenario,
                "tried": detection.tried,
                "steps": detection.steps,
                "leaks": detection.leaks,
                "blocked": detection.blocked,
            }))
        });
        json!({
            "name": fault.name,
            "items": fault.items,
            "explanation": fault.explanation,
            "seen": fault.seen,
            "cases": result.cases(*fault),
            "unmeasurable": result.unmeasurable(*fault),
            "scenarios": detections.collect::<Vec<Value>>(),
        })
    };
    let accusing = result.accusing().into_iter().map(|trial| ScenarioDocument::new(&trial.right));
    let again = result.unmeasured.iter().map(|trial| ScenarioDocument::new(&trial.right));
    let report = json!({
        "passed": result.is_passed(),
        "cases": result.case_count(),
        "scenarios": result.scenarios.iter().map(|trial| &trial.scenario).collect::<Vec<_>>(),
        "undetected": names(result.undetected()),
        "accusing": accusing.collect::<Vec<_>>(),
        "carriedOutAgain": again.collect::<Vec<_>>(),
        "idle": result.idle(),
        "faults": result.faults.iter().map(fault).collect::<Vec<Value>>(),
        "seconds": result.took.as_secs_f64(),
    });
    escape::json(&report)
}
