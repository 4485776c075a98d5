"""Topics of news wires, eight classes."""
