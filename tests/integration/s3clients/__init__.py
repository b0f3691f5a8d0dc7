"""Clients of S3 that nobody here wrote, and what their tests share."""
