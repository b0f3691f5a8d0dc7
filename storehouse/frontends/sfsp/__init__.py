"""SFSP, the chunk protocol over TCP."""
