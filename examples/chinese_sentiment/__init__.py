"""Sentiment of Chinese reviews, two classes, from a BERT of random weights."""
