"""Questions with a passage that answers them, yes or no."""
