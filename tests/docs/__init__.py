"""The documents describe the project as it is."""
