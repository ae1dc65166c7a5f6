"""The commands of gpumodctl, by what they are about."""
