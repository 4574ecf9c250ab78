-- The first version of the tables. Migrations only add: version N and N + 1 run side by side on one schema.
--
-- Every row of the ledger begins with its bucket. A number (`no`, `user_no` and what names them) holds its bucket in its
-- lowest bits, so that it is another one in every bucket and ascends within one. Times are nanoseconds since the epoch;
-- only an operation's own may be so old that they need more than 64 bits. Money is picodollars.

create table meta (
    one bool primary key default true check (one),
    version int8 not null,
    bucket_bits int4 not null,
    deployment_id bytea not null,
    default_plan text collate "C" not null,
    -- What was recorded before is emptied of its details, in every bucket.
    trimmed_before int8,
    -- When a start last made due what waited to be sent.
    retried_at int8 not null default 0,
    -- Where a move has the store: then nobody else opens it.
    moved text);

-- The lock, the order and the clock of the bucket's users. Every batch rewrites its row: room for that within the page.
create table bucket (
    bucket int4 primary key,
    seq int8 not null,
    now_at int8 not null,
    next_user int8 not null, next_operation int8 not null, next_session int8 not null,
    next_denial int8 not null, next_alert int8 not null, next_delivery int8 not null,
    -- The last operation that is emptied of its details, as all before it are.
    trimmed int8 not null default 0,
    owner text, owner_until int8)
    with (fillfactor = 10, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0);

create table plan (
    name text collate "C" primary key,
    tier int8 not null, cost int8, ai_runs int8, api_runs int8,
    recheck bool not null default false);

-- Features, providers and models that sums keep apart.
create table name (kind int2, name text collate "C", primary key (kind, name));

create table users (
    bucket int4, user_no int8,
    user_id text collate "C", tag int8 not null, plan text collate "C", email text,
    limit_cost text, limit_ai_runs text, limit_api_runs text,
    months text not null,
    last_session int8, last_denial int8, last_alert int8,
    created_at int8 not null, sum int8 not null,
    primary key (bucket, user_no));
create unique index users_by_id on users (bucket, user_id) where user_id is not null;
create index users_by_beginning on users (user_id) where user_id is not null;

-- No index on a column that changes, so that every update stays in its page.
create table user_month (
    bucket int4, user_no int8, month int4,
    cost int8 not null, ai_runs int8 not null, api_runs int8 not null,
    operations int8 not null, head int8, raised text not null, updated_at int8,
    primary key (bucket, user_no, month))
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index user_month_by_month on user_month (month);

create table breakdown (
    bucket int4, user_no int8, month int4, day int4,
    usage_type int2, feature text collate "C", provider text collate "C", model text collate "C",
    cost numeric(38, 0) not null, operations int8 not null, runs int8 not null,
    input int8 not null, output int8 not null,
    primary key (bucket, user_no, month, day, usage_type, feature, provider, model))
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create table bucket_day (
    bucket int4, day int4,
    usage_type int2, feature text collate "C", provider text collate "C", model text collate "C",
    cost numeric(38, 0) not null, operations int8 not null, runs int8 not null,
    input int8 not null, output int8 not null,
    primary key (bucket, day, usage_type, feature, provider, model))
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index bucket_day_by_day on bucket_day (day);

create table session (
    bucket int4, no int8, user_no int8 not null,
    session_id text collate "C" not null, feature text collate "C" not null, status int2 not null,
    ask text, choice text,
    total_cost int8, total_ai_runs int8, total_api_runs int8,
    drawn_cost int8, drawn_ai_runs int8, drawn_api_runs int8,
    first_month int4, last_month int4, expires_at int8,
    cost numeric(38, 0) not null, runs int8 not null,
    overdraft_cost int8 not null, overdraft_ai_runs int8 not null, overdraft_api_runs int8 not null,
    exceeded int2 not null, error text, metadata text,
    created_at int8 not null, updated_at int8 not null, completed_at int8, due int8,
    steps int8 not null, last_step int8, previous int8, sum int8 not null,
    primary key (bucket, no))
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
-- An erased person's sessions have no ids.
create unique index session_by_id on session (bucket, user_no, session_id) where session_id <> '';
create index session_of_user on session (bucket, user_no, no);
create index session_by_time on session (created_at, no);
create index session_due on session (due) where due is not null;
create index session_open on session (bucket, user_no) where due is not null;

create table session_day (
    bucket int4, day int4, feature text collate "C", status int2,
    count int8 not null, cost numeric(38, 0) not null, steps int8 not null, duration_ms int8 not null,
    primary key (bucket, day, feature, status))
    with (fillfactor = 70);
create index session_day_by_day on session_day (day);

-- (user, operation id) is unique for ever, whatever becomes of the operation's own row; so the first result's facts
-- are here. `op` is the first half of the SHA-256 of the operation's id.
create table op_key (
    bucket int4, user_no int8, op bytea,
    no int8 not null, month int4 not null, fingerprint bytea not null,
    cost int8 not null, recorded_in int2 not null, reversed_by int8,
    primary key (bucket, user_no, op));

create table operation (
    bucket int4, user_no int8, no int8, month int4,
    operation_id text collate "C" not null, fingerprint bytea not null, flags int2 not null,
    feature text collate "C" not null, provider text collate "C" not null, model text collate "C",
    cost int8 not null, tokens text, units text,
    session_no int8, session_id text collate "C", position int8 not null,
    step_label text, step_number int8, duration_ms int8,
    at numeric(38, 0) not null, recorded_at int8 not null, metadata text,
    reverses int8, reverses_id text collate "C", reason text,
    reversed_by int8, reversed_by_id text collate "C",
    previous int8, previous_step int8, sum int8 not null,
    primary key (bucket, user_no, no, month))
    partition by range (month);
-- In the order of recording, what retention may empty.
create index operation_with_details on operation (bucket, no) where flags & 16 = 0;
create index operation_of_session on operation (bucket, session_no, position) where session_no is not null;

create table denial (
    bucket int4, no int8, user_no int8 not null,
    feature text collate "C" not null, session_id text collate "C",
    ask text not null, reason_kind int2 not null, reason text, failed int2 not null,
    limit_cost int8, limit_ai_runs int8, limit_api_runs int8,
    next_plan text collate "C", times int8 not null, source int2 not null, metadata text,
    recorded_at int8 not null, previous int8, sum int8 not null,
    primary key (bucket, no));
create index denial_of_user on denial (bucket, user_no, no);
create index denial_by_time on denial (recorded_at, no);

create table alert (
    bucket int4, no int8, user_no int8 not null, month int4 not null,
    meter int2 not null, threshold int2 not null, limit_value int8 not null,
    used int8 not null, held int8 not null,
    plan text collate "C" not null, next_plan text collate "C",
    superseded_by int8, recorded_at int8 not null, previous int8, sum int8 not null,
    primary key (bucket, no));
create unique index alert_once on alert (bucket, user_no, month, meter, threshold, limit_value);
create index alert_of_user on alert (bucket, user_no, no);
create index alert_by_time on alert (recorded_at, no);

create table webhook (
    no int8 primary key, id text collate "C" not null, url text not null, events int2 not null, description text not null,
    configured bool not null, created_at int8 not null, gone_at int8, deleted_at int8);

-- What is to be told. The columns up to `sum` say what, and never change; those after it say how far it got. Until
-- `lease_until` a node has it on its way.
create table delivery (
    bucket int4, no int8, kind int2 not null, about int8 not null, user_no int8, receiver int8 not null,
    created_at int8 not null, body text, sum int8 not null,
    state int2 not null, due int8, step int8 not null, tries int8 not null, ended_at int8, lease_until int8,
    primary key (bucket, no));
create index delivery_due on delivery (receiver, due, no) where due is not null;
create index delivery_overdue on delivery (due) where due is not null;
create index delivery_about on delivery (bucket, kind, about);
create index delivery_of_receiver on delivery (receiver, created_at, no);
create index delivery_failed on delivery (receiver) where state = 2;
create index delivery_to_user on delivery (bucket, user_no) where receiver = -1;
create table delivery_try (
    bucket int4, delivery int8, n int8, at int8 not null, status int4, reason text,
    primary key (bucket, delivery, n));

-- What a batch changed, for other nodes' listeners: a row for each user whose budget is another, and for each alert and
-- denial with its number. And the proof that a batch of an unknown outcome is recorded.
create table event (
    bucket int4, seq int8, day int4,
    user_no int8 not null, kind int2 not null, no int8, batch bytea not null,
    primary key (bucket, seq, day))
    partition by range (day);

-- Who was erased, and how far their ids, texts and metadata are wiped: `stage` is which rows come next, of which those
-- below `below` are still to be wiped. A negative stage is the end.
create table erasure (
    bucket int4, user_no int8, tag int8 not null, at int8 not null, stage int2 not null, below int8,
    primary key (bucket, user_no));
create index erasure_unfinished on erasure (bucket, user_no) where stage >= 0;

-- What people change, who was refused. Numbers ascend over all buckets; `bucket` is that of the user, 0 where there is none.
create table audit (
    bucket int4, no int8, at int8 not null,
    who text collate "C" not null, address text, request_id text,
    action text collate "C" not null, subject text, user_no int8, before text, after text, sum int8 not null,
    primary key (bucket, no));
create index audit_by_no on audit (no);

-- The newest number of the audit log, and the last that was copied to where its copy goes. Whoever takes numbers holds the
-- row until its commit, so numbers become visible in their order.
create table audit_numbers (
    one bool primary key default true check (one),
    newest int8 not null, copied int8 not null);

create table api_key (
    id text collate "C" primary key, digest bytea not null, role text not null, description text not null,
    last4 text not null, created_at int8 not null, expires_at int8, revoked_at int8);
create table secret (name text collate "C" primary key, sealed bytea not null, created_at int8 not null);
-- Which tokens of users are good no more; `version` is that of `meta` since which it stands here.
create table token_end (
    bucket int4, user_no int8, until int8 not null, sum int8 not null, version int8 not null,
    primary key (bucket, user_no));
create index token_end_by_version on token_end (version);

-- What rows are sent as: the columns of a table in the order in which they are written, each as wide as it gets.
create type users_row as (
    bucket int8, user_no int8, user_id text, tag int8, plan text, email text, limit_cost text, limit_ai_runs
    text, limit_api_runs text, months text, last_session int8, last_denial int8, last_alert int8, created_at
    int8, sum int8);
create type user_month_row as (
    bucket int8, user_no int8, month int8, cost int8, ai_runs int8, api_runs int8, operations int8, head int8,
    raised text, updated_at int8);
create type session_row as (
    bucket int8, no int8, user_no int8, session_id text, feature text, status int8, ask text, choice text,
    total_cost int8, total_ai_runs int8, total_api_runs int8, drawn_cost int8, drawn_ai_runs int8,
    drawn_api_runs int8, first_month int8, last_month int8, expires_at int8, cost numeric, runs int8,
    overdraft_cost int8, overdraft_ai_runs int8, overdraft_api_runs int8, exceeded int8, error text, metadata
    text, created_at int8, updated_at int8, completed_at int8, due int8, steps int8, last_step int8, previous
    int8, sum int8);
create type op_key_row as (
    bucket int8, user_no int8, op bytea, no int8, month int8, fingerprint bytea, cost int8, recorded_in int8);
create type operation_row as (
    bucket int8, user_no int8, no int8, month int8, operation_id text, fingerprint bytea, flags int8, feature
    text, provider text, model text, cost int8, tokens text, units text, session_no int8, session_id text,
    position int8, step_label text, step_number int8, duration_ms int8, at numeric, recorded_at int8, metadata
    text, reverses int8, reverses_id text, reason text, reversed_by int8, reversed_by_id text, previous int8,
    previous_step int8, sum int8);
create type denial_row as (
    bucket int8, no int8, user_no int8, feature text, session_id text, ask text, reason_kind int8, reason
    text, failed int8, limit_cost int8, limit_ai_runs int8, limit_api_runs int8, next_plan text, times int8,
    source int8, metadata text, recorded_at int8, previous int8, sum int8);
create type alert_row as (
    bucket int8, no int8, user_no int8, month int8, meter int8, threshold int8, limit_value int8, used int8,
    held int8, plan text, next_plan text, superseded_by int8, recorded_at int8, previous int8, sum int8);
create type breakdown_row as (
    bucket int8, user_no int8, month int8, day int8, usage_type int8, feature text, provider text, model text,
    cost numeric, operations int8, runs int8, input int8, output int8);
create type bucket_day_row as (
    bucket int8, day int8, usage_type int8, feature text, provider text, model text, cost numeric, operations
    int8, runs int8, input int8, output int8);
create type session_day_row as (
    bucket int8, day int8, feature text, status int8, count int8, cost numeric, steps int8, duration_ms int8);
create type bucket_row as (
    bucket int8, seq int8, now_at int8, next_user int8, next_operation int8, next_session int8, next_denial
    int8, next_alert int8, next_delivery int8);
create type event_row as (
    bucket int8, seq int8, day int8, user_no int8, kind int8, no int8, batch bytea);
