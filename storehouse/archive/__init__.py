"""
The archive library: records in files that roll over, usable without a reactor and without a server.

C{roll_checker} and C{roll_manager} write and read; C{archive} has the single files, C{handlers} what is done with closed
ones, C{disk_storage} the bytes of one record. C{interfaces} says what your own checkers and callbacks are to provide.
"""
