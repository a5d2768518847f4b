"""A service that does one of everything, so that a suite can look at how a provider does it."""
