"""Sentiment of tweets, three classes: the example that ``make demo`` runs."""
