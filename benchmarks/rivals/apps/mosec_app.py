"""Mosec with its default settings and a model that does nothing: JSON in, one number a row out."""

from __future__ import annotations

from mosec import Server, Worker  # pyright: ignore[reportMissingImports]

ANSWER = {"y": [0.5] * 64}


class Nothing(Worker):
    """Answers the same, whatever it is asked."""

    def forward(self, data):
        """One answer for a request's rows."""
        return ANSWER


if __name__ == "__main__":
    server = Server()
    server.append_worker(Nothing)
    server.run()
