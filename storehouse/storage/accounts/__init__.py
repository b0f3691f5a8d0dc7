"""Who may: users, their keys and sessions, and signed links."""
