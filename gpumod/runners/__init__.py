"""How services' processes live: under a keeper of ours, or as systemd's transient units."""
