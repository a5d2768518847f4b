"""Providers that come with pys-multi; each is loaded through the entry-point group ``pys_multi.providers``."""
