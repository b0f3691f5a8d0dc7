"""The objects door: buckets and objects over HTTP, for the user of the process on a socket file."""
