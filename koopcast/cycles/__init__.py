"""Assimilation cycles: windows of time, an inbox of reports, a chain of analyses, an archive."""
