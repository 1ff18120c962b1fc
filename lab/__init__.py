"""What the demo and the tests need on one machine: set-up, a real registry, base images, three engines."""
