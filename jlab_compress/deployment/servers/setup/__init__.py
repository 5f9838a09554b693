"""Install third-party servers in environments of their own."""
