"""Parts of speech of English words, twelve tags."""
