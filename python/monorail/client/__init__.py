"""A client of a running server: typed errors, keep-alive, the same kind of data out as went in."""

from .client import Client
from .job import Job, JobStatus

__all__ = ["Client", "Job", "JobStatus"]
