"""Acts: the child side, irreversible, in straight lines. All decisions were taken in the parent (``_plan``)."""
