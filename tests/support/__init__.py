"""What the tests of running servers share: hand-made bundles, server processes, raw sockets."""
