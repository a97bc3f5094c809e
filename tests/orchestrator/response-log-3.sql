-- A response log of schema version 3: the rows of response-log-2.sql, the first of each table shipped.
PRAGMA application_id = 1415007303;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE amended (                   -- decisions that changed after they may have left: they leave again
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    decision_id INTEGER NOT NULL
);
CREATE TABLE dead_letter (               -- what a server refused for good
    target TEXT NOT NULL,
    source TEXT NOT NULL,
    row_id INTEGER NOT NULL,
    refused_ns INTEGER NOT NULL,         -- wall clock
    status INTEGER NOT NULL,             -- HTTP
    message TEXT NOT NULL,               -- the server's
    line TEXT NOT NULL,                  -- as it was sent
    PRIMARY KEY (target, source, row_id)
);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    policy TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER NOT NULL,
    tier TEXT NOT NULL,
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    fallback_model TEXT NOT NULL,
    deadline_ms REAL NOT NULL,
    predicted_ms REAL,                   -- what the agent expected; NULL in all seven: it did not say why
    predicted_sd_ms REAL,
    runner_up TEXT,                      -- the next best action, as in d0@edge; NULL: there was no other
    runner_up_ms REAL,
    runner_up_sd_ms REAL,
    bounds TEXT,                         -- what held: floor, load, entry, with commas between; '': nothing
    reason TEXT,                         -- best, uncertain, probe, held; NULL: it did not say why
    UNIQUE (request_id, node),           -- in this order: a report asks whose request it was
    UNIQUE (node, time_ns)
);
INSERT INTO "decision" VALUES(1,1700000000000000000,'home','s1','request-s1',41,'q_learning',2,0,850,'end','d7','s1','d4',5000.0,97.25,8.5,'d0@edge',120.0,9.0,'floor','best');
INSERT INTO "decision" VALUES(2,1700000000000000000,'home','s2','request-s2',41,'q_learning',2,0,850,'edge','d0','edge','d4',5000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE response (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER,                       -- NULL: the device was never told one
    policy TEXT NOT NULL,                -- 'none': it ran without a decision; 'unknown': that is lost
    policy_version INTEGER,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER,                -- Top-5, tenths of a point
    outcome TEXT NOT NULL,
    tier TEXT NOT NULL,                  -- what was really done, with model and serving_node
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    accuracy_tenths INTEGER,             -- of that model; NULL: not in the manifest
    response_ms REAL NOT NULL,
    decide_ms REAL NOT NULL,
    encode_ms REAL NOT NULL,
    uplink_ms REAL NOT NULL,
    queue_ms REAL NOT NULL,
    compute_ms REAL NOT NULL,
    downlink_ms REAL NOT NULL,
    label TEXT,
    trained INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    reason TEXT,
    UNIQUE (node, request_id),
    UNIQUE (node, time_ns)
);
INSERT INTO "response" VALUES(1,1700000000000000000,'home','s1','request-s1',41,'q_learning',2,0,850,'done','end','d7','s1',728,100.5,1.5,0.0,0.0,0.0,0.0,0.0,'tabby',1,0,NULL);
INSERT INTO "response" VALUES(2,1700000000000000000,'home','s2','request-s2',41,'q_learning',2,0,850,'done','edge','d0','edge',899,201.0,1.5,0.0,0.0,0.0,0.0,0.0,'tabby',1,0,NULL);
CREATE TABLE shipping (
    target TEXT NOT NULL,                -- server, organisation and bucket
    source TEXT NOT NULL,                -- response, decision or telemetry
    claimed_id INTEGER NOT NULL,         -- rows up to this one may have left
    shipped_id INTEGER NOT NULL,         -- up to this one each is stored there, refused, skipped or trimmed
    shipped_rows INTEGER NOT NULL DEFAULT 0,
    skipped_rows INTEGER NOT NULL DEFAULT 0,   -- more waited than backlog_rows
    trimmed_rows INTEGER NOT NULL DEFAULT 0,   -- telemetry that was deleted here before it left
    PRIMARY KEY (target, source)
);
INSERT INTO "shipping" VALUES('http://127.0.0.1:8086 -/b','response',1,1,1,0,0);
INSERT INTO "shipping" VALUES('http://127.0.0.1:8086 -/b','decision',1,1,1,0,0);
INSERT INTO "shipping" VALUES('http://127.0.0.1:8086 -/b','telemetry',1,1,1,0,0);
CREATE TABLE shipping_target (
    target TEXT PRIMARY KEY,
    accepted_ns INTEGER,                 -- wall clock of the last write that was taken
    failed_ns INTEGER,                   -- and of the last that was not, with why
    error TEXT
);
INSERT INTO "shipping_target" VALUES('http://127.0.0.1:8086 -/b',1700000000000000001,NULL,NULL);
CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    tier TEXT,                           -- NULL: heard before its birth
    seq INTEGER NOT NULL,
    cpu_percent REAL NOT NULL,
    memory_percent REAL NOT NULL,
    link TEXT NOT NULL,
    rtt_ms REAL,
    uplink_mbit_s REAL,
    queue_length INTEGER NOT NULL,
    overruns INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    UNIQUE (node, time_ns)
);
INSERT INTO "telemetry" VALUES(1,1700000000000000000,'home','s1','end',1,5.0,20.0,'regular',NULL,NULL,0,0,0,0);
INSERT INTO "telemetry" VALUES(2,1700000000000000000,'home','s2','end',2,5.0,20.0,'regular',NULL,NULL,0,0,0,0);
CREATE INDEX decision_round ON decision (round);
CREATE TRIGGER decision_amended AFTER UPDATE ON decision BEGIN
    INSERT INTO amended (target, decision_id)
    SELECT target, NEW.id FROM shipping WHERE source = 'decision' AND claimed_id >= NEW.id;
END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('response',2);
INSERT INTO "sqlite_sequence" VALUES('decision',2);
INSERT INTO "sqlite_sequence" VALUES('telemetry',2);
COMMIT;
