//! The report of a self-test: which scenarios detect which faults.

use std::fmt::Write;
use std::time::Duration;

use super::escape::Plain;
use super::style::{BAD, FAINT, GOOD, STRONG, UNSURE, count, duration, paint};
use super::terminal;
use crate::document::{Scenario, SelfTestDocument, TriedFault};
use crate::selftest::ENOUGH;

/// Returns the report for people: the verdict, what is undetected, what detects nothing, and the matrix.
pub fn selftest(result: &SelfTestDocument) -> String {
    let SelfTestDocument { undetected, accusing, carried_out_again, idle, faults, .. } = result;
    let mut text = String::new();
    let _ = writeln!(text, "{}", verdict(result));
    for (fault, why) in unmeasurable(result) {
        let _ = writeln!(text, "not measurable here: {fault} ({})", Plain(why));
    }
    let undetected = faults.iter().filter(|fault| undetected.contains(&fault.name)).map(|fault| {
        let cases = count(fault.cases, "case", "cases");
        format!("{} ({cases}): {}", fault.name, fault.explanation)
    });
    let names = |scenarios: &[Scenario]| -> Vec<String> {
        scenarios.iter().map(|scenario| scenario.name.clone()).collect()
    };
    section(
        &mut text,
        "Undetected faults",
        "what they do would not be noticed: more cases are needed",
        &undetected.collect::<Vec<_>>(),
    );
    let explanation = "they do not pass where enforcement is right";
    section(&mut text, "Accused without a fault", explanation, &names(accusing));
    text.push_str(&terminal::findings(accusing, false));
    section(&mut text, "Run again", "inconclusive at first, for these reasons", &names(carried_out_again));
    text.push_str(&terminal::findings(carried_out_again, false));
    section(&mut text, "Scenarios that detect nothing", "no fault shows in them", idle);
    matrix(&mut text, result);
    text
}

/// Returns the result in a sentence without colours.
fn summary(result: &SelfTestDocument) -> String {
    let undetected = result.undetected.len();
    let detected = match undetected {
        0 => {
            let shown = result.faults.len() - unmeasurable(result).count();
            format!("each of {} is detected by at least {ENOUGH} cases", count(shown, "fault", "faults"))
        }
        _ => format!("{} not detected by {ENOUGH} cases", count(undetected, "fault is", "faults are")),
    };
    let accused = match result.accusing.len() {
        0 => "no fault is reported without one".to_owned(),
        accusing => format!("{} without one", count(accusing, "scenario fails", "scenarios fail")),
    };
    format!("{detected}, and {accused}")
}

/// Returns the faults that this machine's kernel cannot show, and why.
fn unmeasurable(result: &SelfTestDocument) -> impl Iterator<Item = (&str, &str)> {
    result.faults.iter().filter_map(|fault| Some((fault.name.as_str(), fault.unmeasurable.as_deref()?)))
}

fn verdict(result: &SelfTestDocument) -> String {
    let (style, word) = if result.passed { (GOOD, "PASS") } else { (BAD, "FAIL") };
    let scope = format!(
        "{} in {}, {} (lab)",
        count(result.cases, "case", "cases"),
        count(result.scenarios.len(), "scenario", "scenarios"),
        duration(Duration::from_secs_f64(result.seconds))
    );
    format!("{}  {}: {scope}", paint(style, word), summary(result))
}

fn section(text: &mut String, title: &str, explanation: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{}  {}", paint(UNSURE, title), paint(FAINT, explanation));
    }
    for line in lines {
        let _ = writeln!(text, "  {}", Plain(line));
    }
}

/// Shows faults by scenarios.
fn matrix(text: &mut String, result: &SelfTestDocument) {
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
    let mut faults: Vec<_> = result.faults.iter().collect();
    // The faults that the fewest scenarios detect come first.
    faults.sort_by_key(|fault| fault.detecting());
    for fault in faults {
        let row: String = result.scenarios.iter().map(|scenario| mark(fault, scenario)).collect();
        let row = format!("{:widest$}  {:>3}  {row}", fault.name, fault.detecting());
        let _ = writeln!(text, "{}", row.trim_end());
    }
    let _ = writeln!(text);
    for (number, scenario) in numbers.iter().zip(&result.scenarios) {
        let detected = result.faults.iter().filter(|fault| mark(fault, scenario) == '#').count();
        let _ = writeln!(text, "{number:>3}  {} ({detected})", Plain(scenario));
    }
}

fn mark(fault: &TriedFault, scenario: &str) -> char {
    match fault.trial(scenario) {
        None => ' ',
        Some(trial) if trial.is_detected() => '#',
        Some(_) => '.',
    }
}

/// Returns the faults as a Markdown table, each with what detects it.
pub fn selftest_markdown(result: &SelfTestDocument) -> String {
    let mut text = format!(
        "{} cases in {} scenarios against {} faults: {}.",
        result.cases,
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
        let TriedFault { name, items, explanation, .. } = fault;
        let items: Vec<_> = items.iter().map(u8::to_string).collect();
        let detected = match &fault.unmeasurable {
            Some(_) => "not measurable on this kernel".to_owned(),
            None => count(fault.detecting(), "scenario", "scenarios"),
        };
        let seen = fault.seen.as_ref().map(|seen| format!(" (seen: {seen})")).unwrap_or_default();
        let _ = writeln!(text, "| `{name}` | {explanation}{seen} | {} | {detected} |", items.join(", "));
    }
    text
}
