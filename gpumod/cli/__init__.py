"""The command line client, gpumodctl. `main` is its entry point; all else is imported when it is needed."""
