"""How electors behave, on memory:// and on backends made to misbehave."""
