"""What touches private names of Twisted to be faster, each with a plain way to fall back on."""
