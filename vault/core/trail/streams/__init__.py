"""The trail as stored: its entries, their streams, and the keys that sign them."""
