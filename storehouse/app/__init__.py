"""The program: what is put together, opened and closed in order, and the way from a command line to it."""
