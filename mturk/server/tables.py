"""The tables of the local MTurk's state. Times are whole milliseconds since 1970 in UTC, amounts whole cents."""

VERSION = 1

# An assignment that still has its place. MTurk hands the id of a returned or abandoned one to somebody else.
LIVE = "('accepted', 'submitted', 'approved', 'rejected')"

TABLES = f"""
CREATE TABLE requesters (
    key TEXT PRIMARY KEY,         -- the access key id; workers never see it
    id TEXT NOT NULL UNIQUE,      -- what workers and notifications are told
    available_cents INTEGER NOT NULL CHECK (available_cents >= 0),
    held_cents INTEGER NOT NULL CHECK (held_cents >= 0),      -- promised to open and submitted assignments
    opened_at INTEGER NOT NULL
) STRICT;
CREATE TABLE journal (            -- every movement of money; the balances above are its sums
    serial INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    requester TEXT NOT NULL REFERENCES requesters,
    kind TEXT NOT NULL CHECK (kind IN ('opening', 'hold', 'release', 'reward', 'bonus')),
    hit TEXT,
    assignment TEXT,
    worker TEXT,
    available_cents INTEGER NOT NULL,     -- changes, which cancel out in every row but the opening one
    held_cents INTEGER NOT NULL,
    worker_cents INTEGER NOT NULL,
    fee_cents INTEGER NOT NULL,
    CHECK (kind = 'opening' OR available_cents + held_cents + worker_cents + fee_cents = 0)
) STRICT;
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,           -- for who runs the server; requesters never see it
    added_at INTEGER NOT NULL,
    revoked_at INTEGER,           -- from then on the worker is let in no more
    country TEXT,                 -- ISO 3166, for the locale qualification
    subdivision TEXT,
    adult INTEGER NOT NULL DEFAULT 0,
    masters INTEGER NOT NULL DEFAULT 0,
    approved_before INTEGER NOT NULL DEFAULT 0,   -- HITs approved elsewhere, added to those approved here
    approval_percent INTEGER      -- said by who runs the server; NULL: of the work done here
) STRICT;
CREATE TABLE hit_types (
    id TEXT PRIMARY KEY,
    requester TEXT NOT NULL REFERENCES requesters,
    group_id TEXT NOT NULL UNIQUE,
    properties TEXT NOT NULL,     -- all that follows as JSON: the same properties are the same type
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    keywords TEXT NOT NULL,
    reward_cents INTEGER NOT NULL,
    duration_s INTEGER NOT NULL,
    auto_approval_s INTEGER NOT NULL,
    requirements TEXT NOT NULL,   -- QualificationRequirements as JSON
    notification TEXT,            -- its specification as JSON
    notifying INTEGER NOT NULL DEFAULT 0,
    UNIQUE (requester, properties)
) STRICT;
CREATE TABLE hits (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    requester TEXT NOT NULL REFERENCES requesters,
    type TEXT NOT NULL REFERENCES hit_types,
    question TEXT NOT NULL,       -- XML
    annotation TEXT,
    max_assignments INTEGER NOT NULL,
    places INTEGER NOT NULL CHECK (places >= 0),  -- that nobody has; their money is held until the HIT expires
    reward_cents INTEGER NOT NULL,
    fee_cents INTEGER NOT NULL,   -- of one place
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    expired INTEGER NOT NULL DEFAULT 0,   -- its places' money has been given back
    reviewing INTEGER NOT NULL DEFAULT 0,
    reviewable_at INTEGER,        -- NULL while somebody may still submit
    disposed_at INTEGER
) STRICT;
CREATE INDEX hits_by_requester ON hits (requester, serial);
CREATE INDEX hits_by_type ON hits (type);
CREATE INDEX hits_to_expire ON hits (expires_at) WHERE NOT expired AND disposed_at IS NULL;
CREATE INDEX hits_to_dispose ON hits (reviewable_at) WHERE disposed_at IS NULL AND reviewable_at IS NOT NULL;
CREATE TABLE assignments (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    hit TEXT NOT NULL REFERENCES hits (id),
    worker TEXT NOT NULL REFERENCES workers,
    status TEXT NOT NULL CHECK (status IN ('accepted', 'returned', 'abandoned', 'submitted', 'approved', 'rejected')),
    reward_cents INTEGER NOT NULL,
    fee_cents INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    submitted_at INTEGER,
    auto_approval_at INTEGER,
    approved_at INTEGER,
    rejected_at INTEGER,
    answer TEXT,                  -- QuestionFormAnswers as XML
    feedback TEXT
) STRICT;
CREATE UNIQUE INDEX live_assignments ON assignments (id) WHERE status IN {LIVE};
CREATE UNIQUE INDEX one_a_worker ON assignments (hit, worker) WHERE status IN {LIVE};
CREATE INDEX assignments_by_hit ON assignments (hit, status);
CREATE INDEX assignments_by_worker ON assignments (worker, serial);
CREATE INDEX assignments_to_abandon ON assignments (deadline) WHERE status = 'accepted';
CREATE INDEX assignments_to_approve ON assignments (auto_approval_at) WHERE status = 'submitted';
CREATE TABLE bonuses (
    serial INTEGER PRIMARY KEY,
    requester TEXT NOT NULL REFERENCES requesters,
    hit TEXT NOT NULL REFERENCES hits (id),
    assignment TEXT NOT NULL,
    worker TEXT NOT NULL REFERENCES workers,
    bonus_cents INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX bonuses_by_hit ON bonuses (hit, serial);
CREATE INDEX bonuses_by_worker ON bonuses (worker, assignment);
CREATE TABLE request_tokens (     -- UniqueRequestToken, kept for 24 hours
    requester TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('create', 'extend', 'bonus')),
    token TEXT NOT NULL,
    at INTEGER NOT NULL,
    made TEXT NOT NULL,           -- the HIT's id; of extensions and bonuses the request's
    PRIMARY KEY (requester, kind, token)
) STRICT;
CREATE TABLE blocks (
    requester TEXT NOT NULL REFERENCES requesters,
    worker TEXT NOT NULL REFERENCES workers,
    reason TEXT NOT NULL,
    PRIMARY KEY (requester, worker)
) STRICT;
CREATE TABLE messages (           -- to workers
    serial INTEGER PRIMARY KEY,
    requester TEXT NOT NULL REFERENCES requesters,
    worker TEXT NOT NULL REFERENCES workers,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE qualification_types (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    requester TEXT NOT NULL REFERENCES requesters,
    name TEXT NOT NULL,
    keywords TEXT,
    description TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('Active', 'Inactive')),
    retry_delay_s INTEGER,        -- NULL: may be asked for once
    test TEXT,
    answer_key TEXT,
    test_duration_s INTEGER,
    auto_granted INTEGER NOT NULL,
    auto_granted_value INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX type_names ON qualification_types (requester, name) WHERE deleted_at IS NULL;
CREATE TABLE qualifications (
    type TEXT NOT NULL REFERENCES qualification_types (id),
    worker TEXT NOT NULL REFERENCES workers,
    value INTEGER,
    status TEXT NOT NULL CHECK (status IN ('Granted', 'Revoked')),
    granted_at INTEGER NOT NULL,
    reason TEXT,                  -- why it was revoked
    PRIMARY KEY (type, worker)
) STRICT;
CREATE TABLE qualification_requests (
    serial INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL REFERENCES qualification_types (id),
    worker TEXT NOT NULL REFERENCES workers,
    test TEXT,
    answer TEXT,
    status TEXT NOT NULL CHECK (status IN ('begun', 'pending', 'granted', 'rejected')),  -- begun: reads the test
    began_at INTEGER NOT NULL,
    submitted_at INTEGER,
    reason TEXT
) STRICT;
CREATE INDEX requests_by_type ON qualification_requests (type, worker, serial);
CREATE TABLE outbox (             -- notifications, in MTurk's own JSON
    serial INTEGER PRIMARY KEY,
    requester TEXT NOT NULL REFERENCES requesters,
    event TEXT NOT NULL,
    transport TEXT NOT NULL,
    destination TEXT NOT NULL,
    body TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
"""
