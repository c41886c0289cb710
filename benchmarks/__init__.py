"""What leaderlock costs, beside its peers and the bare minimum of each store: `make bench`."""
