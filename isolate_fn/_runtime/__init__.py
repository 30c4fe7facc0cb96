"""Processes: the caller's side of spawner, init and worker, and what runs in them; joins the other layers."""
