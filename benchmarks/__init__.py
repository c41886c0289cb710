"""What leaderlock costs: `make bench`."""
