"""Statistics and their loggers."""
