"""Real stores, started on free ports in a temporary folder: frozen, killed, restarted at will.

    with EtcdServer() as etcd:
        etcd.freeze()

Their programs are those that `make servers` unpacks in a checkout of leaderlock; without one, those
on the PATH.
"""
