"""The server and the command of Discern."""
