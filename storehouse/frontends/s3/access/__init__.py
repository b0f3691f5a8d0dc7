"""Authorization at the S3 door: callers, actions, policies and ACLs."""
