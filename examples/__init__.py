"""Programs that show leaderlock at work; run them from the root of the repository."""
