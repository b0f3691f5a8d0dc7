"""The append door: the append log over HTTP. See docs/append.rst."""
