"""Real stores for tests: started on free ports in a temporary folder, frozen, killed, restarted.

    with EtcdServer() as etcd:
        etcd.freeze()

Their programs come from `make servers`. Nothing in here needs pytest but fixtures.py.
"""
