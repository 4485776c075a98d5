"""How far a handful of labelled texts goes, four ways compared."""
