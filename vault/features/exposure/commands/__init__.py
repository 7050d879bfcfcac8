"""The commands `exposure`, `offboard` and `audit report`."""
