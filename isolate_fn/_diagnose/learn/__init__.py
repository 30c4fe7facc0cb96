"""`learn`: run something permissively inside the walls, and write down the smallest policy under which it works."""
