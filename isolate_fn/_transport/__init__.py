"""Bytes: the call in, the result out. What comes back is hostile data and never meets pickle."""
