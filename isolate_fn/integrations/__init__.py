"""Engines that scale out, made to run their tasks in isolates; docs/scaling.md says which needs what.

Each module is for those who have its engine installed, imports it, and is imported by nobody else. They use the public
names of isolate_fn only. Celery and Ray have none: an isolated function inside their tasks needs no help.
"""
