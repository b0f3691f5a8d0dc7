"""Encryption of everything that is stored: a codec of bytes and names, over any data space and any namespace."""
