"""
Measurements of storehouse beside other programs, in pairs.

README.rst tells how to run and read them; nothing here is installed.
"""
