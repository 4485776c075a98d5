"""Sentiment of tweets and of film review snippets, one encoder for both."""
