"""Dagger engines as ordinary processes, without Docker: compiled from Go modules, one namespace each."""
