"""etcd:// and etcds://: see `leaderlock.backends.etcd.backend`."""

from leaderlock.backends.etcd.backend import EtcdBackend

__all__ = ["EtcdBackend"]
