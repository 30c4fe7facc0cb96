"""Telling people what happened and what this machine can do."""
