"""
The archive library: records in files that roll over, usable without a reactor and without a server (docs/library.rst).

C{roll_manager} writes and reads records across archives, and C{roll_checker} says when one is full. C{archive} has single
archives, C{handlers} the callbacks for closed ones, C{disk_storage} the bytes of one record. C{interfaces} says what
checkers and callbacks of your own provide.
"""
