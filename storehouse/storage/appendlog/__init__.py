"""The append log: push data, get a file offset."""
