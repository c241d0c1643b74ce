#!/bin/sh
# Builds the agent as one static binary and prints its path.
set -eu
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, the flags do not reach build scripts and macros, which cannot be static.
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --quiet --locked --package netproof-probe --bin netproof-probe --profile agent --target "$target" >&2
echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/agent/netproof-probe"
