"""Tests of leaderlock.testing.chaos."""
