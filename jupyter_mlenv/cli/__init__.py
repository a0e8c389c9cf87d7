"""The command line, `jupyter mlenv …`: one file per command group, all of it thin over `environments/manager.py`."""
