"""Pre-training on plain text: a small Chinese BERT from nothing, and MiniLM on old English."""
