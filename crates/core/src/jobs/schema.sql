-- Jobs in the order in which they came. States: 0 may be handed out, 1 is put off until `not_before`, from 2 on it has ended.
-- The body, input until the job has succeeded and its result from then on, is last, so that a look at a job need not read it.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    digest BLOB NOT NULL,
    rows INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    version INTEGER,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    not_before REAL,
    deadline REAL,
    ttl_s REAL NOT NULL,
    expires REAL,
    error TEXT,
    body BLOB NOT NULL
);
CREATE INDEX ready ON jobs (priority DESC, place) WHERE state = 0;
CREATE INDEX put_off ON jobs (not_before) WHERE state = 1;
CREATE INDEX dated ON jobs (deadline) WHERE state <= 1 AND deadline IS NOT NULL;
CREATE INDEX expiring ON jobs (expires) WHERE expires IS NOT NULL;
CREATE INDEX failed ON jobs (state, place) WHERE state >= 3;
PRAGMA user_version = 2;
