"""Decisions. Pure: words and features in, orders for the child out."""
