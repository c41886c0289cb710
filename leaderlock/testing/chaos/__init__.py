"""A checker that anyone can run: elections on a real store, under faults, held against invariants.

python -m leaderlock.testing.chaos --backend etcd --nodes 3 --candidates 5 --seconds 60 --seed 7
"""
