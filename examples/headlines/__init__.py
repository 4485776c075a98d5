"""Satire among headlines, two classes."""
