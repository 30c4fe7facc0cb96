"""The public shapes: what users write, reduced to a policy and one call of the runtime."""
