//! Diagnostics on standard error, for users who look for the cause of a result.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Variable with a filter such as `debug` or `netproof::observe=trace`. It overrides `-v`.
const FILTER: &str = "NETPROOF_LOG";
/// Variable with the format: `text` (the default) or `json`.
const FORMAT: &str = "NETPROOF_LOG_FORMAT";

/// Checks that a filter has no misspelt levels. For the filter, a word alone that is no level is the name of a module.
fn check(filter: &str) -> anyhow::Result<()> {
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(char::is_alphanumeric);
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok() || word == env!("CARGO_PKG_NAME");
    match filter.split(',').map(str::trim).filter(is_word).find(|word| !is_level(word)) {
        Some(word) => anyhow::bail!(
            "{FILTER}={filter}: `{word}` is no level: write error, warn, info, debug, trace, or a module with a level \
             such as netproof::observe=trace"
        ),
        None => Ok(()),
    }
}

/// Starts to write diagnostics. `verbosity` is the count of `-v`. The first `-v` shows the whole report, and no
/// diagnostics.
///
/// # Errors
/// If an environment variable has an invalid value.
pub(super) fn start(verbosity: u8) -> anyhow::Result<()> {
    // A failed request is repeated, or its error ends in a message of netproof. If a node is ill, thousands fail.
    let (level, requests) = match verbosity {
        0 | 1 => (LevelFilter::WARN, LevelFilter::OFF),
        2 => (LevelFilter::DEBUG, LevelFilter::DEBUG),
        3.. => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let filter = match std::env::var(FILTER) {
        Ok(filter) => {
            check(&filter)?;
            EnvFilter::builder().parse(&filter).with_context(|| format!("{FILTER}={filter}"))?
        }
        // Messages of libraries below warnings only help their authors, except for the requests to the API server.
        Err(_) => EnvFilter::new(format!("warn,netproof={level},kube_client={requests}")),
    };
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .with_span_events(FmtSpan::CLOSE);
    match std::env::var(FORMAT).as_deref() {
        Ok("json") => subscriber.json().init(),
        Ok("text" | "") | Err(_) => subscriber.init(),
        Ok(other) => anyhow::bail!("{FORMAT}={other}: write text or json"),
    }
    Ok(())
}
