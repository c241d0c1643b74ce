#!/bin/sh
# Builds the loader and prints its path.
set -eu
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, the flags do not reach build scripts and macros.
RUSTFLAGS='-C relocation-model=static -C force-unwind-tables=no' \
    cargo build --quiet --locked --package netproof-loader --bin netproof-loader --no-default-features \
    --features program --profile agent --target "$target" >&2
echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/agent/netproof-loader"
