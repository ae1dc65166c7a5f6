"""The path of bytes: clients' connections, connections to engines, and what passes between them."""
