"""How positive film review snippets are, as a number."""
