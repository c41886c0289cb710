# etcd as Debian has it, the same version that scripts/servers unpacks.
FROM debian:13.1-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends 'etcd-server=3.5.16*' 'etcd-client=3.5.16*' \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10002 --create-home --home-dir /var/lib/etcd-data etcd-node

USER 10002
WORKDIR /var/lib/etcd-data
CMD ["etcd"]
