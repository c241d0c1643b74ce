//! Where output goes: results to stdout, everything else to stderr.

use std::io::{self, Write};

use crate::snapshot::Unmodelled;
use crate::{report, source};

/// Writes a result. If the reader has closed standard output (`| head`, `| grep -q`), the rest is dropped: the
/// exit code still is that of the result.
///
/// # Errors
/// If standard output is full.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    // Reports escape all foreign text. This is a second barrier, in case a report forgets one.
    let text = report::guard(text);
    // To search a large JSON document for colours takes longer than to write it.
    unless_closed(if text.contains('\u{1b}') {
        write(anstream::stdout().lock(), &text)
    } else {
        write(io::stdout().lock(), &text)
    })
}

fn write(mut stdout: impl Write, text: &str) -> anyhow::Result<()> {
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Drops the error that the reader of standard output has closed it.
pub(super) fn unless_closed(written: anyhow::Result<()>) -> anyhow::Result<()> {
    written.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(_) | None => Err(error),
    })
}

/// Prints an error and its causes.
pub(super) fn error(error: &anyhow::Error) {
    note(&format!("error: {}", with_causes(error)));
}

/// Returns an error and its causes on one line. Leaves out causes that the line already contains.
fn with_causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        // The message of an error in the input already says why, in other words than the cause.
        if cause.is::<source::Error>() {
            break;
        }
    }
    line
}

/// Prints a text that is not a result.
pub(super) fn note(text: &str) {
    // An error means that standard error is closed: no user reads it.
    let _ = writeln!(anstream::stderr(), "{}", report::message(text));
}

/// Prints warnings, and the kinds of objects that netproof does not model and the user does not accept.
pub(super) fn warnings(warnings: &[String], unmodelled: &[Unmodelled]) {
    for warning in warnings {
        line(&format!("warning: {warning}"));
    }
    for kind in unmodelled.iter().filter(|kind| !kind.is_accepted) {
        line(&format!("warning: not modelled: {kind}"));
    }
}

/// Prints a text that is not a result on one line, even if the text has several.
pub(super) fn line(text: &str) {
    note(&report::plain(text));
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::image::{self, Unfit};

    #[test]
    fn every_cause_is_printed_once() {
        let full = || io::Error::other("disk full");
        let unfit = image::Error::Unfit { path: PathBuf::from("agent"), problem: Unfit::NotElf };
        let input = source::Error::whole(&"a.yaml".into(), "cannot be read").because(full());
        for (error, line) in [
            (anyhow::Error::from(full()).context("--report a.xml"), "--report a.xml: disk full"),
            (image::Error::Archive(full()).into(), "could not put the image together: disk full"),
            (
                unfit.into(),
                "agent is not an ELF executable: for the agent, give the path that probe-image/build.sh prints",
            ),
            (input.into(), "a.yaml: cannot be read"),
        ] {
            assert_eq!(with_causes(&error), line);
        }
    }
}
