"""Sentiment of film review snippets, two classes."""
