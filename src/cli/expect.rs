//! `netproof expect`
use super::Exit;
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(super) struct ExpectArgs {}
pub(super) fn expect(_: &ExpectArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("x")
}
