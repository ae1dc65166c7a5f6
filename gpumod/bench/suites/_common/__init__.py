"""What several suites share: texts, asking, and the reading of parameters. No suite."""
