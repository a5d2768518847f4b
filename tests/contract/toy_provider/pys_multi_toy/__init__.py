"""A provider of pys-multi in a distribution of its own."""
