"""A control plane of Google Cloud for tests: see server.py."""
