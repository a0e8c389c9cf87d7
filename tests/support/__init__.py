"""What the test suites share: waiting, the engine, what sessions leave behind."""
