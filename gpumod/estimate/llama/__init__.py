"""What llama.cpp takes, by formula."""
