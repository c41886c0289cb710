"""Elections in an Apache ZooKeeper ensemble, by kazoo."""

from leaderlock.backends.zookeeper.backend import ZooKeeperBackend

__all__ = ["ZooKeeperBackend"]
