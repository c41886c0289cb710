"""consul://host and consuls://host (TLS): elections in Consul. See `ConsulBackend`."""

from leaderlock.backends.consul.backend import ConsulBackend

__all__ = ["ConsulBackend"]
