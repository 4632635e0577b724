"""Who may do what: sessions, roles, and what a browser must be told."""
