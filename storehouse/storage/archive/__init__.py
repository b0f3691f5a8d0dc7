"""Archives: files of records that are written once, rolled over, read back in order, and handed on when they are closed."""
