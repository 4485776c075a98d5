"""Writing texts token by token, in the graph."""
