"""Route handlers, grouped by subject."""
