"""Notifications: which changes of which objects are announced, to whom, and the spool that they wait in."""
