"""Questions in which the asker corrects himself, answered with words of a passage, or not at all."""
