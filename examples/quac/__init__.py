"""Questions that follow one another in a dialogue, answered with words of a passage, or not at all."""
