//! Where output goes: results to stdout, everything else to stderr.

use std::io::{self, Write};

use crate::report;

/// Writes a result.
///
/// # Errors
/// If standard output is closed or full.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    // Writers make what others say safe; what one of them forgets is stopped here.
    let text = report::guard(text);
    // Looking for colours in a large JSON document takes longer than writing it.
    if text.contains('\u{1b}') {
        write(anstream::stdout().lock(), &text)
    } else {
        write(io::stdout().lock(), &text)
    }
}

fn write(mut stdout: impl Write, text: &str) -> anyhow::Result<()> {
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Tells of an error: each cause once, on one line.
pub(super) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// Tells something that is no result.
pub(super) fn note(text: &str) {
    // Without standard error there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{}", report::message(text));
}

/// Tells something that is no result and has one line, whatever is in it.
pub(super) fn line(text: &str) {
    note(&report::one_line(text));
}

/// Whether the reader of standard output went away.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
