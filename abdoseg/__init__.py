"""abdoseg: abdominal organs from CT, on a laptop, offline, from one command."""

__version__ = "0.1.0"
