"""A server while it runs: its processes, what it sees of a repository, whom it answers."""
