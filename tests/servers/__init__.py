"""`leaderlock.testing.servers` as fixtures, and what they promise."""
