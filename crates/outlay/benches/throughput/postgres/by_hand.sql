-- What a good engineer writes by hand in place of Outlay: the rules of recording in one PostgreSQL function, called once an
-- operation, and once more for many operations at a time. It records an operation once, keeps its user's month and the
-- day's breakdown in the same transaction, under the lock of the month's row, and answers what is used of which limits.
-- What it leaves out of what Outlay does: holds, sessions, alerts, overrides of limits, the sums over all users, events,
-- checksums.

create table plan (
  name     text collate "C" primary key,
  cost     bigint,
  ai_runs  bigint,
  api_runs bigint
);
insert into plan values ('base', 1000000000000000000, 1000000000, 1000000000);

create table account (
  user_id text collate "C" primary key,
  plan    text collate "C" not null references plan
);

create table operation (
  user_id      text collate "C" not null,
  operation_id text collate "C" not null,
  at           timestamptz not null,
  recorded_at  timestamptz not null default clock_timestamp(),
  usage_type   "char" not null,
  feature      text collate "C" not null,
  provider     text collate "C" not null,
  model        text collate "C" not null,
  cost         bigint not null,
  is_run       boolean not null,
  tokens       bigint not null,
  primary key (user_id, operation_id)
);
create index operation_of_user on operation (user_id, at desc);

create table user_month (
  user_id    text collate "C" not null,
  month      date not null,
  cost       bigint not null,
  ai_runs    bigint not null,
  api_runs   bigint not null,
  operations bigint not null,
  primary key (user_id, month)
) with (fillfactor = 70);

create table user_day (
  user_id    text collate "C" not null,
  day        date not null,
  usage_type "char" not null,
  feature    text collate "C" not null,
  provider   text collate "C" not null,
  model      text collate "C" not null,
  cost       bigint not null,
  operations bigint not null,
  tokens     bigint not null,
  primary key (user_id, day, usage_type, feature, provider, model)
) with (fillfactor = 70);

create function record_operation(
  the_user text, the_operation text, the_time timestamptz, the_type "char", the_feature text, the_provider text, the_model text,
  the_cost bigint, runs boolean, the_tokens bigint
) returns table (
  duplicate boolean, cost bigint, ai_runs bigint, api_runs bigint, limit_cost bigint, limit_ai_runs bigint, limit_api_runs bigint,
  exceeded boolean
)
language plpgsql as $$
#variable_conflict use_column
declare
  the_month date := date_trunc('month', the_time at time zone 'UTC');
  the_day   date := (the_time at time zone 'UTC')::date;
  is_new    boolean;
  used      user_month;
  limits    plan;
begin
  insert into operation as o (user_id, operation_id, at, usage_type, feature, provider, model, cost, is_run, tokens)
  values (the_user, the_operation, the_time, the_type, the_feature, the_provider, the_model, the_cost, runs, the_tokens)
  on conflict do nothing;
  is_new := found;
  if is_new then
    -- Whoever records for the same user waits here, and sees what this one added.
    insert into user_month as m (user_id, month, cost, ai_runs, api_runs, operations)
    values (the_user, the_month, the_cost, (runs and the_type = 'a')::int, (runs and the_type = 'p')::int, 1)
    on conflict (user_id, month) do update
      set cost = m.cost + excluded.cost, ai_runs = m.ai_runs + excluded.ai_runs, api_runs = m.api_runs + excluded.api_runs,
          operations = m.operations + 1
    returning m.* into used;
    insert into user_day as d (user_id, day, usage_type, feature, provider, model, cost, operations, tokens)
    values (the_user, the_day, the_type, the_feature, the_provider, the_model, the_cost, 1, the_tokens)
    on conflict (user_id, day, usage_type, feature, provider, model) do update
      set cost = d.cost + excluded.cost, operations = d.operations + 1, tokens = d.tokens + excluded.tokens;
  else
    select m.* into used from user_month m where m.user_id = the_user and m.month = the_month;
  end if;
  select p.* into limits from plan p
    where p.name = coalesce((select a.plan from account a where a.user_id = the_user), 'base');
  return query select not is_new, used.cost, used.ai_runs, used.api_runs, limits.cost, limits.ai_runs, limits.api_runs,
    coalesce(used.cost > limits.cost or used.ai_runs > limits.ai_runs or used.api_runs > limits.api_runs, false);
end $$;

create function record_operations(
  users text[], operations text[], times timestamptz[], types "char"[], features text[], providers text[], models text[],
  costs bigint[], runs boolean[], tokens bigint[]
) returns bigint
language sql as $$
  with given as (
    select distinct on (user_id, operation_id) *
    from unnest(users, operations, times, types, features, providers, models, costs, runs, tokens)
      as g (user_id, operation_id, at, usage_type, feature, provider, model, cost, is_run, tokens)
    order by user_id, operation_id
  ), fresh as (
    insert into operation (user_id, operation_id, at, usage_type, feature, provider, model, cost, is_run, tokens)
    select * from given
    on conflict do nothing
    returning user_id, (at at time zone 'UTC')::date as day, usage_type, feature, provider, model, cost, is_run, tokens
  ), months as (
    insert into user_month as m (user_id, month, cost, ai_runs, api_runs, operations)
    select user_id, date_trunc('month', day)::date as month, sum(cost), count(*) filter (where is_run and usage_type = 'a'),
           count(*) filter (where is_run and usage_type = 'p'), count(*)
    from fresh group by 1, 2 order by 1, 2
    on conflict (user_id, month) do update
      set cost = m.cost + excluded.cost, ai_runs = m.ai_runs + excluded.ai_runs, api_runs = m.api_runs + excluded.api_runs,
          operations = m.operations + excluded.operations
  ), days as (
    insert into user_day as d (user_id, day, usage_type, feature, provider, model, cost, operations, tokens)
    select user_id, day, usage_type, feature, provider, model, sum(cost), count(*), sum(tokens)
    from fresh group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6
    on conflict (user_id, day, usage_type, feature, provider, model) do update
      set cost = d.cost + excluded.cost, operations = d.operations + excluded.operations, tokens = d.tokens + excluded.tokens
  )
  select count(*) from fresh
$$;
