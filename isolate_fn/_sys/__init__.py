"""The kernel as it is: one handle on libc, one typed wrapper per call, constants with the release they came in."""
