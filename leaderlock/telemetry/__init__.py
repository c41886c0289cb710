"""What an election tells about itself: typed events."""
