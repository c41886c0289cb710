"""Real stores, started on free ports in a temporary folder: frozen, killed, restarted at will.

    from leaderlock.testing.servers.etcd import EtcdServer

    with EtcdServer() as etcd:
        etcd.freeze()

Their programs are those that `make servers` unpacks in a checkout of leaderlock; without one, those
on the PATH.
"""
