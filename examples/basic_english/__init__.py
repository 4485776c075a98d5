"""Verses of the King James Version, rewritten in Basic English."""
