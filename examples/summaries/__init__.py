"""Summaries: of news in a sentence, and of papers by their challenge, approach and outcome."""
