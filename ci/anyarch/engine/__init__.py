"""Dagger engines: which one serves a platform, whether it answers, and calling the pipeline on it."""
