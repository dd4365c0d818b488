"""Soft InfoNCE, exact everywhere."""
