"""Scores on held-out rows and on mteb tasks."""
