"""Copying, reversing, dates and sums: made-up tasks of writing, which a small BERT does without a mistake."""
