"""The append log: push data, get a file offset (docs/append.rst, docs/formats/appendlog.md)."""
