"""
Servers that nobody here wrote, for tests: radosgw for S3, from Debian's packages, and Swift, from PyPI.

Each is started at most once in a test process, on ports of loopback that nobody uses, with all its data in a directory
of its own, and ended with the process. Where what it needs is missing a test is skipped, but with C{CI=true} it fails.
"""
