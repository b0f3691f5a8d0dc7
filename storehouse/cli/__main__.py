"""C{python -m storehouse.cli} is the C{storehouse} command."""

from storehouse.cli import main

if __name__ == "__main__":
    main(prog_name="storehouse")
