"""What an election tells about itself: events, answers to probes, metrics and traces."""
