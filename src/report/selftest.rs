//! The report of a self-test: which scenarios detect which faults.

use std::fmt::Write;
use std::time::Duration;

use super::escape::Plain;
use super::page::Page;
use super::style::{BAD, FAINT, GOOD, STRONG, Table, UNSURE, count, duration, paint, thousands};
use super::terminal;
use crate::document::{ENOUGH, FaultAccuracy, FaultDiagnosis, Scenario, SelfTestDocument, TriedFault};

/// Returns the report for people: the verdict, what is undetected, what detects nothing, and the matrix.
pub fn selftest(result: &SelfTestDocument) -> String {
    let SelfTestDocument { undetected, accusing, run_again, idle, faults, .. } = result;
    let mut page = Page::new(false);
    page.line(verdict(result));
    for (fault, why) in unmeasurable(result) {
        page.line(format!("not measurable here: {fault} ({})", Plain(why)));
    }
    let undetected = faults.iter().filter(|fault| undetected.contains(&fault.name)).map(|fault| {
        let cases = count(fault.cases, "case", "cases");
        format!("{} ({cases}): {}", fault.name, fault.explanation)
    });
    let explanation = "what they do would not be noticed: more cases are needed";
    section(&mut page, "Undetected faults", explanation, undetected);
    let names = |scenarios: &[Scenario]| -> Vec<String> {
        scenarios.iter().map(|scenario| scenario.name.clone()).collect()
    };
    let explanation = "they do not pass where enforcement is right";
    section(&mut page, "Accused without a fault", explanation, names(accusing));
    terminal::findings(&mut page, accusing);
    section(&mut page, "Run again", "inconclusive at first, for these reasons", names(run_again));
    terminal::findings(&mut page, run_again);
    diagnosis(&mut page, result);
    section(&mut page, "Scenarios that detect nothing", "no fault shows in them", idle.iter().cloned());
    if !result.quick {
        matrix(&mut page, result);
    }
    page.text
}

/// Shows what the cells of each fault are blamed on: the faults that are not diagnosed, and then those that the
/// scenarios do not tell from others.
fn diagnosis(page: &mut Page, result: &SelfTestDocument) {
    let with = |wanted: FaultAccuracy| {
        let faults = result.faults.iter().filter_map(|fault| Some((fault, fault.diagnosis.as_ref()?)));
        faults.filter(move |(_, diagnosis)| diagnosis.accuracy == wanted)
    };
    let number = |accuracy| with(accuracy).count();
    let all = result.faults.iter().filter(|fault| fault.diagnosis.is_some()).count();
    if all == 0 {
        return;
    }
    let explanation = format!(
        "of {}, {} as themselves alone, {} as one of several, {} not, {} shown only by chance",
        count(all, "fault, diagnosed", "faults, diagnosed"),
        number(FaultAccuracy::Itself),
        number(FaultAccuracy::Equivalent),
        number(FaultAccuracy::Missed),
        number(FaultAccuracy::ByChance),
    );
    page.title(STRONG, "Diagnosis", paint(FAINT, explanation));
    let sections = [
        (FaultAccuracy::Missed, "not diagnosed"),
        (FaultAccuracy::ByChance, "by chance"),
        (FaultAccuracy::Equivalent, "one of several"),
        (FaultAccuracy::Itself, "itself"),
    ];
    let mut table = Table::new(["fault", "diagnosed", "cells", "not explained", "blamed"]);
    for (accuracy, word) in sections {
        for (fault, FaultDiagnosis { explanations, cells, unexplained, .. }) in with(accuracy) {
            let others = |names: &Vec<String>| {
                let names: Vec<_> = names.iter().filter(|name| **name != fault.name).cloned().collect();
                names.join(" or ")
            };
            let blamed: Vec<_> = match accuracy {
                FaultAccuracy::Itself => Vec::new(),
                FaultAccuracy::Equivalent => {
                    explanations.iter().map(|names| format!("or {}", others(names))).collect()
                }
                FaultAccuracy::Missed | FaultAccuracy::ByChance => {
                    explanations.iter().map(|names| names.join(" or ")).collect()
                }
            };
            let numbers = [*cells, *unexplained].map(thousands);
            let row = [fault.name.clone(), word.to_owned()].into_iter().chain(numbers);
            table.row(row.chain([blamed.join("; ")]));
        }
    }
    page.text.push_str(&table.lines([2, 3]));
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
        0 => "nothing is reported when there is no fault".to_owned(),
        accusing => format!("{} when there is no fault", count(accusing, "scenario fails", "scenarios fail")),
    };
    let diagnosed = match result.misdiagnosed.len() {
        0 => String::new(),
        number => format!(", and {} not diagnosed", count(number, "fault is", "faults are")),
    };
    format!("{detected}, and {accused}{diagnosed}")
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

fn section(page: &mut Page, title: &str, explanation: &str, lines: impl IntoIterator<Item = String>) {
    for (index, line) in lines.into_iter().enumerate() {
        if index == 0 {
            page.title(UNSURE, title, paint(FAINT, explanation));
        }
        page.line(format!("  {}", Plain(line)));
    }
}

/// Shows faults by scenarios.
fn matrix(page: &mut Page, result: &SelfTestDocument) {
    let explanation = "# detected, . enforced otherwise but not seen, blank: makes the same rules";
    page.title(STRONG, "Faults × scenarios", paint(FAINT, explanation));
    let widest = result.faults.iter().map(|fault| fault.name.len()).max().unwrap_or_default();
    let numbers: Vec<_> = (1..=result.scenarios.len()).collect();
    for divisor in [10, 1] {
        let digit = |number: &usize| match (divisor, number / divisor) {
            (10, 0) => " ".to_owned(),
            (_, digits) => (digits % 10).to_string(),
        };
        let digits: String = numbers.iter().map(digit).collect();
        if !digits.trim().is_empty() {
            page.line(format!("{:widest$}       {digits}", ""));
        }
    }
    let mut faults: Vec<_> = result.faults.iter().collect();
    // The faults that the fewest scenarios detect come first.
    faults.sort_by_key(|fault| fault.detecting());
    for fault in faults {
        let row: String = result.scenarios.iter().map(|scenario| mark(fault, scenario)).collect();
        page.line(format!("{:widest$}  {:>3}  {row}", fault.name, fault.detecting()).trim_end());
    }
    page.line("");
    for (number, scenario) in numbers.iter().zip(&result.scenarios) {
        let detected = result.faults.iter().filter(|fault| mark(fault, scenario) == '#').count();
        page.line(format!("{number:>3}  {} ({detected})", Plain(scenario)));
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
    let _ = writeln!(text, "| fault | what goes wrong | spec rules | detected by |\n|---|---|---|---|");
    for fault in &result.faults {
        let TriedFault { name, spec_rules, explanation, .. } = fault;
        let spec_rules: Vec<_> = spec_rules.iter().map(u8::to_string).collect();
        let detected = match &fault.unmeasurable {
            Some(_) => "not measurable on this kernel".to_owned(),
            None => count(fault.detecting(), "scenario", "scenarios"),
        };
        let seen = fault.seen.as_ref().map(|seen| format!(" (seen: {seen})")).unwrap_or_default();
        let _ = writeln!(text, "| `{name}` | {explanation}{seen} | {} | {detected} |", spec_rules.join(", "));
    }
    text
}
