-- What one writes without much thought: the rules of recording over a schema out of a textbook, in a file of the program's own.
-- It leaves out what the functions in PostgreSQL do.

create table plan (
  name     text primary key,
  cost     integer,
  ai_runs  integer,
  api_runs integer
);
insert into plan values ('base', 1000000000000000000, 1000000000, 1000000000);

create table account (
  user_id text primary key,
  plan    text not null references plan
);

create table operation (
  id           integer primary key,
  user_id      text not null,
  operation_id text not null,
  at           integer not null,
  usage_type   text not null,
  feature      text not null,
  provider     text not null,
  model        text not null,
  cost         integer not null,
  is_run       integer not null,
  unique (user_id, operation_id)
);
create index operation_of_user on operation (user_id, at);

create table user_month (
  user_id    text not null,
  month      text not null,
  cost       integer not null,
  ai_runs    integer not null,
  api_runs   integer not null,
  operations integer not null,
  primary key (user_id, month)
);

create table user_day (
  user_id    text not null,
  day        text not null,
  usage_type text not null,
  feature    text not null,
  provider   text not null,
  model      text not null,
  cost       integer not null,
  operations integer not null,
  primary key (user_id, day, usage_type, feature, provider, model)
);
