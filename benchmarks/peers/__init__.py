"""Other locks as candidates in the chaos harness: `python -m benchmarks.peers`."""
