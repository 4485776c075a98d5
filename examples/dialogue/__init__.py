"""Replies in short conversations."""
