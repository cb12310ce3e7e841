"""Shared ground: compiled functions, random streams, files, statistics, machine."""
