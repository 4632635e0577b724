"""`python -m app` is the `discern` command."""

from app.cli import main

main()
