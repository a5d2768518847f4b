"""The toy provider is a distribution of its own: its tests run where it is installed, not here."""

collect_ignore = ["toy_provider"]
