"""What vLLM takes, by formula."""
