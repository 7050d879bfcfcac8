"""The command `mcp`: what agents may know about secrets, over the Model Context Protocol, without a value."""
