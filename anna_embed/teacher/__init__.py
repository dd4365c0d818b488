"""Scores and hard negatives."""
