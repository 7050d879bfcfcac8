"""The console: sessions, pages, and what a browser does with them."""
