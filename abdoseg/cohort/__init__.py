"""Cohorts: the scans of a folder tree before a run, and the table and index page of its results after it."""
