"""Fuzzers of storehouse. C{STOREHOUSE_SOAK=1} lets them run long."""
