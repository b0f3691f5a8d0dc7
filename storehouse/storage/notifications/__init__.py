"""Notifications: the rules for events of buckets, the spool in which events wait, and their delivery."""
