"""GitHub Actions: the only room that reads ``GITHUB_*`` and writes step outputs."""
