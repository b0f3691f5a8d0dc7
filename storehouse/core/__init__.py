"""The leaves: what needs nothing else of storehouse but its errors and events."""
