"""A labelmap to files, one module a format."""
