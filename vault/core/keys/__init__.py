"""Master keys: usage, agreement between processes, and rewrapping."""
