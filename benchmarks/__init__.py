"""What leaderlock costs, beside the bare minimum of each store and beside its peers: `make bench`."""
