"""Clients of protocols that storehouse and others speak: libraries for Twisted programs."""
