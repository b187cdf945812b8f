"""A catalog on loopback whose file server can be told to fail: real HTTP, real failures."""
