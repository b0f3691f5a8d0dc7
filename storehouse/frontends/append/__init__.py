"""The append door: the append log over HTTP. docs/append.rst says what it answers."""
