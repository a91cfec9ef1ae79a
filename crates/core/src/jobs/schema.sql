-- Jobs in the order in which they came. States: 0 may be handed out, 1 is put off until `not_before`, from 2 on it has ended.
-- The body, input until the job has succeeded and its result from then on, is last, so that a look at a job need not read it.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY,
    -- The id, if the caller chose one; else the place tells it.
    chosen TEXT,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    -- Of what was asked for, beside an id that was chosen.
    digest BLOB,
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
CREATE UNIQUE INDEX chosen ON jobs (chosen) WHERE chosen IS NOT NULL;
CREATE INDEX ready ON jobs (priority DESC, place) WHERE state = 0;
CREATE INDEX put_off ON jobs (not_before) WHERE state = 1;
CREATE INDEX dated ON jobs (deadline) WHERE state <= 1 AND deadline IS NOT NULL;
CREATE INDEX expiring ON jobs (expires) WHERE expires IS NOT NULL;
CREATE INDEX failed ON jobs (state, place) WHERE state >= 3;
-- What ends the store's own ids, and a place above all that were given once the jobs that had them are removed.
CREATE TABLE store (mark TEXT NOT NULL, next_place INTEGER NOT NULL);
INSERT INTO store VALUES ('{mark}', 1);
PRAGMA user_version = 3;
