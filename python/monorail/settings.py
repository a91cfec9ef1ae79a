"""The settings of a server: name, type, default, range. Generated from Rust's table: run `make generate`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, the same word as flag, environment variable (``MONORAIL_`` and upper case) and in ``monorail.toml``.

    Attributes:
        name: Its word.
        type: ``bool``, ``int``, ``float`` or ``string``.
        default: None where it is decided at start-up, as ``help`` says.
        minimum: Least value of a number, or None.
        maximum: Greatest value of a number, or None.
        help: What it does, one sentence.
        scope: ``serve``, or ``model`` for one that may also be given for one model alone.
        choices: The words a string may be, or None.
    """

    name: str
    type: str
    default: bool | int | float | str | None
    minimum: int | float | None
    maximum: int | float | None
    help: str
    scope: str = "serve"
    choices: tuple[str, ...] | None = None


SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="host",
        type="string",
        default="127.0.0.1",
        minimum=None,
        maximum=None,
        help="Address to listen on; 0.0.0.0 is every IPv4 address of the machine.",
    ),
    Setting(
        name="port",
        type="int",
        default=8000,
        minimum=0,
        maximum=65535,
        help="Port to listen on; 0 finds a free one.",
    ),
    Setting(
        name="threads",
        type="int",
        default=0,
        minimum=0,
        maximum=1024,
        help="Threads that serve, each with an engine of its own; 0 is as many as there are cores.",
    ),
    Setting(
        name="max_batch_rows",
        type="int",
        default=1024,
        minimum=1,
        maximum=1048576,
        help="Most rows that callers share one engine call with.",
        scope="model",
    ),
    Setting(
        name="max_queue_rows",
        type="int",
        default=65536,
        minimum=1,
        maximum=1073741824,
        help="Most rows of a model that wait; a request above that is answered 503 with Retry-After.",
        scope="model",
    ),
    Setting(
        name="limit_rows",
        type="int",
        default=1000000,
        minimum=1,
        maximum=1073741824,
        help="Most rows of one request; more are answered 413.",
        scope="model",
    ),
    Setting(
        name="limit_body_bytes",
        type="int",
        default=67108864,
        minimum=1,
        maximum=17179869184,
        help="Most bytes of a request's body; more are answered 413.",
    ),
    Setting(
        name="limit_buffered_bytes",
        type="int",
        default=1073741824,
        minimum=1,
        maximum=1099511627776,
        help="Most bytes of large bodies and answers that all connections hold together; a body above is answered 503.",
    ),
    Setting(
        name="unknown_columns",
        type="string",
        default="refuse",
        minimum=None,
        maximum=None,
        help="What happens to a column that the signature does not have: refuse answers 422, ignore skips it.",
        scope="model",
        choices=("refuse", "ignore"),
    ),
    Setting(
        name="min_workers",
        type="int",
        default=1,
        minimum=1,
        maximum=1024,
        help="Least worker processes of a model that needs them.",
        scope="model",
    ),
    Setting(
        name="max_workers",
        type="int",
        default=0,
        minimum=0,
        maximum=1024,
        help="Most worker processes of a model; 0 is as many as there are cores.",
        scope="model",
    ),
    Setting(
        name="worker_timeout_s",
        type="float",
        default=60.0,
        minimum=0.01,
        maximum=86400.0,
        help="Longest time that a worker may take for one batch; then it is killed and another one started.",
        scope="model",
    ),
    Setting(
        name="worker_memory_bytes",
        type="int",
        default=0,
        minimum=0,
        maximum=1125899906842624,
        help="Resident memory above which a worker is replaced after its batch; 0 is no cap.",
        scope="model",
    ),
    Setting(
        name="worker_max_batches",
        type="int",
        default=0,
        minimum=0,
        maximum=1099511627776,
        help="Batches after which a worker is replaced; 0 is never.",
        scope="model",
    ),
    Setting(
        name="worker_idle_s",
        type="float",
        default=60.0,
        minimum=0.01,
        maximum=86400.0,
        help="How long a worker above min_workers may be idle before it is stopped.",
        scope="model",
    ),
    Setting(
        name="worker_start_timeout_s",
        type="float",
        default=120.0,
        minimum=0.01,
        maximum=86400.0,
        help="Longest time that a worker may take to start and load its model.",
        scope="model",
    ),
    Setting(
        name="worker_environment",
        type="string",
        default="auto",
        minimum=None,
        maximum=None,
        help="Where workers run: auto is this Python if it has the locked packages, isolated always another.",
        scope="model",
        choices=("auto", "isolated"),
    ),
    Setting(
        name="drain_s",
        type="float",
        default=10.0,
        minimum=0.0,
        maximum=3600.0,
        help="Longest time that a stopping server waits for what it has accepted.",
    ),
    Setting(
        name="idle_timeout_s",
        type="float",
        default=75.0,
        minimum=0.1,
        maximum=86400.0,
        help="How long a connection may lie idle between requests.",
    ),
    Setting(
        name="read_timeout_s",
        type="float",
        default=30.0,
        minimum=0.1,
        maximum=86400.0,
        help="How long a client may take to send a request's head, or pause while it sends a body or takes an answer.",
    ),
    Setting(
        name="max_connections",
        type="int",
        default=10000,
        minimum=1,
        maximum=1000000,
        help="Most connections at once; more wait to be accepted.",
    ),
    Setting(
        name="jobs",
        type="string",
        default="auto",
        minimum=None,
        maximum=None,
        help="Folder where asynchronous predictions are kept; auto is `jobs` in the registry, off keeps none.",
    ),
    Setting(
        name="limit_jobs_bytes",
        type="int",
        default=8589934592,
        minimum=1,
        maximum=1125899906842624,
        help="Most bytes of the job store; a job above is answered 429.",
    ),
    Setting(
        name="job_ttl_s",
        type="float",
        default=86400.0,
        minimum=0.0,
        maximum=1000000000.0,
        help="How long a job is kept after it has ended, unless it says otherwise.",
    ),
    Setting(
        name="callback_hosts",
        type="string",
        default="off",
        minimum=None,
        maximum=None,
        help="Hosts that jobs' ends are told to: hooks.example.com, *.example.com, http://10.0.0.5:8080; off is none.",
    ),
    Setting(
        name="callback_networks",
        type="string",
        default="public",
        minimum=None,
        maximum=None,
        help="Networks that these hosts may be in: public is the internet, 10.0.0.0/8 a block of addresses.",
    ),
    Setting(
        name="callback_secret_file",
        type="string",
        default="auto",
        minimum=None,
        maximum=None,
        help="File of the secrets that callbacks are signed with; auto is `callback.secret` in the jobs' folder.",
    ),
    Setting(
        name="callback_ca_file",
        type="string",
        default="off",
        minimum=None,
        maximum=None,
        help="File of certificates (PEM) that callbacks trust besides the public ones; off is none.",
    ),
    Setting(
        name="callback_timeout_s",
        type="float",
        default=15.0,
        minimum=0.1,
        maximum=300.0,
        help="Longest time of one attempt to tell of a job's end.",
    ),
    Setting(
        name="callback_attempts",
        type="int",
        default=20,
        minimum=1,
        maximum=1000,
        help="Attempts to tell of a job's end before it is given up.",
    ),
    Setting(
        name="queue",
        type="string",
        default="off",
        minimum=None,
        maximum=None,
        help="URL of a broker that requests come from too, such as redis://HOST:6379; off takes none.",
    ),
    Setting(
        name="queue_group",
        type="string",
        default="monorail",
        minimum=None,
        maximum=None,
        help="Servers of one group share the requests of a queue.",
    ),
    Setting(
        name="queue_attempts",
        type="int",
        default=5,
        minimum=1,
        maximum=1000,
        help="How often a message may be tried before it is a dead letter.",
    ),
    Setting(
        name="queue_ack_wait_s",
        type="float",
        default=30.0,
        minimum=0.1,
        maximum=3600.0,
        help="How long a message may be with a server that says nothing before another one gets it.",
    ),
    Setting(
        name="queue_reply_to",
        type="string",
        default="off",
        minimum=None,
        maximum=None,
        help="What a message's reply-to header must begin with to be followed; off follows none.",
    ),
    Setting(
        name="requests",
        type="string",
        default="off",
        minimum=None,
        maximum=None,
        help="Stream or subject of the queue that the model's requests come from; off takes none.",
        scope="model",
    ),
    Setting(
        name="replies",
        type="string",
        default="auto",
        minimum=None,
        maximum=None,
        help="Stream or subject that replies go to; auto is the requests' name with `.replies`.",
        scope="model",
    ),
    Setting(
        name="limit_job_body_bytes",
        type="int",
        default=1073741824,
        minimum=1,
        maximum=1099511627776,
        help="Most bytes of a job's body in Arrow; other bodies have limit_body_bytes. More are answered 413.",
    ),
    Setting(
        name="limit_job_rows",
        type="int",
        default=100000000,
        minimum=1,
        maximum=1099511627776,
        help="Most rows of a job over 1 MiB of Arrow; other jobs have limit_rows. More are answered 413.",
    ),
    Setting(
        name="limit_job_streams",
        type="int",
        default=1000,
        minimum=0,
        maximum=1000000,
        help="Most streams of a job's events (text/event-stream) at once; one above is answered 503.",
    ),
    Setting(
        name="access_log",
        type="bool",
        default=False,
        minimum=None,
        maximum=None,
        help="Whether each request is logged, in one line on stderr.",
    ),
)
