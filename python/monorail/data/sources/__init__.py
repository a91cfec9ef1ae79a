"""The kinds of data a source can be made of, one file each."""
