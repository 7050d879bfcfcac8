"""Tools of tests of pages: a person, screens of a browser, and programs of npm."""
