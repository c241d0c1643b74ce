# netproof, to run it in a cluster (deploy/) or in a pipeline. From the root of the project:
#
#     docker build -t netproof:0.1.0 .
#
# It carries the agent, which runs in the probe pods. scripts/release-image builds the image of releases from the programs of
# the release, which take the place of the first stage.

FROM rust:1.95-slim-trixie AS build
ARG TARGETARCH
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin netproof && \
    install -D target/release/netproof "/built/$TARGETARCH/netproof"

FROM debian:trixie-slim
LABEL org.opencontainers.image.licenses="Apache-2.0"
LABEL org.opencontainers.image.title="netproof"
LABEL org.opencontainers.image.version="0.1.0"
ARG TARGETARCH
COPY --from=build /built/$TARGETARCH/netproof /usr/local/bin/
# Not root, and by number: Kubernetes checks runAsNonRoot by it.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/netproof"]
