"""A Django project with one management command that must run in one place at a time."""
