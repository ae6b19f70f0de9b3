"""Puts this folder on the path: its helper modules serve the tests of every room below."""
