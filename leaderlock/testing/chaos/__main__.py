"""The command: python -m leaderlock.testing.chaos --backend etcd --seconds 60 --seed 7."""

from leaderlock.testing.chaos.cli import main

if __name__ == "__main__":
    main()
