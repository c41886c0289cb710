# A project of its own, whose tests are run as such by test_third_party.py.
collect_ignore = ["leaderlock-flock"]
