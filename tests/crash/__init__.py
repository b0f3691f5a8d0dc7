"""Tests of storehouse: power cuts, kills, full disks. C{STOREHOUSE_SOAK=1} lets them run long."""
