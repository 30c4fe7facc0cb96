"""What isolated calls are compared to; each says why where it cannot take part on this machine."""
