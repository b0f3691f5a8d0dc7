"""Programs with the libraries of other people, run by the interpreter that has them: each takes a directory of files."""
