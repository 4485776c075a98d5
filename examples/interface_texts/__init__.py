"""The texts of an interface, translated from English into Chinese."""
