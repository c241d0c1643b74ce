# netproof, to run it in a cluster (deploy/) or in a pipeline. From the root of the project:
#
#     docker build -t netproof:0.1.0 .
#
# It carries the agent, which runs in the probe pods.

FROM rust:1.95-slim-trixie AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin netproof

FROM debian:trixie-slim
LABEL org.opencontainers.image.licenses="Apache-2.0"
LABEL org.opencontainers.image.title="netproof"
LABEL org.opencontainers.image.version="0.1.0"
COPY --from=build /source/target/release/netproof /usr/local/bin/
# Not root, and by number: Kubernetes checks runAsNonRoot by it.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/netproof"]
