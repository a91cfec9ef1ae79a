"""Score data of any size with a bundle: files, streams, Ray and Spark."""
