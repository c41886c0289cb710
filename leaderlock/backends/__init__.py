"""One module per store. Each is imported when a URL first names its scheme."""
