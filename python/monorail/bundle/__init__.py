"""Bundles on disk: finding them, describing them, writing them. Reading, audit and digests are Rust's."""
