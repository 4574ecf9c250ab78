//! A PostgreSQL under Patroni: three members and the etcd that they agree by, all of the test's own and on ports that were
//! free. They end, and their folders go, when the test does, however that ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal};
use tokio_postgres::{Client, Config, NoTls};

use super::cluster::block_on;
use super::postgres_server::{SERVICE_USER, as_server, end, programs, run, watched};
use super::processes::{children_of, server_of, with_children};
use super::until;

/// Where Debian puts them.
const PATRONI: &str = "/usr/bin/patroni";
const ETCD: &str = "/usr/bin/etcd";
/// The database of the ledger.
const DATABASE: &str = "ledger";
const MEMBERS: usize = 3;
/// Seconds after which a leader that does not renew its lease is none any more. The lease is renewed every `loop_wait`.
const TTL: u32 = 20;

/// Members in the order of their hosts in [`Patroni::url`].
pub(crate) struct Patroni {
    // They leave before what they agree by.
    members: Vec<Member>,
    _etcd: Etcd,
}

struct Etcd(Option<Child>);

struct Member {
    folder: PathBuf,
    port: u16,
    watched: Option<Child>,
}

impl Patroni {
    /// Waits until there is a leader, and a synchronous standby and another one behind it.
    pub(crate) fn start() -> Patroni {
        for program in [PATRONI, ETCD] {
            assert!(
                Path::new(program).exists(),
                "this test needs {program}: `apt-get install patroni etcd-server`, or run `cargo xtask test --long`, which installs it"
            );
        }
        let ports = free_ports();
        let [client, peer, of_members @ ..] = ports.as_slice() else { unreachable!() };
        let etcd = Etcd::start(*client, *peer);
        let members = of_members.chunks(2).enumerate();
        let members = members.map(|(no, ports)| Member::start(no, ports[0], ports[1], *client)).collect();
        let cluster = Patroni { members, _etcd: etcd };
        let mut leader = None;
        until("Patroni has a leader", || {
            leader = cluster.leader();
            leader.is_some()
        });
        let leader = leader.unwrap();
        let connected = "select count(*) from pg_stat_replication where state = 'streaming'";
        cluster.until_it_is(leader, "both standbys follow the leader", connected, 2);
        let synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        cluster.until_it_is(leader, "one of them is synchronous", synchronous, 1);
        cluster.members[leader].execute("postgres", &format!("create database {DATABASE}")).unwrap();
        cluster
    }

    /// Its address with all hosts, as `--store` takes it.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        format!("postgres://{SERVICE_USER}@{}/{DATABASE}", hosts.join(","))
    }

    /// The member that is the primary now; `None` while there is none.
    pub(crate) fn leader(&self) -> Option<usize> {
        let is_primary = "select (not pg_is_in_recovery())::int::int8";
        self.members.iter().position(|member| member.number("postgres", is_primary) == Some(1))
    }

    /// Ends a member at once, Patroni and all processes of PostgreSQL, as when its machine fails.
    pub(crate) fn kill9(&self, member: usize) {
        let member = &self.members[member];
        let of_shell = children_of(Pid::from_child(member.watched.as_ref().unwrap()).as_raw_nonzero().get());
        let is_patroni = |process: &i32| {
            let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("patroni")
        };
        let patroni: Vec<i32> = of_shell.into_iter().filter(is_patroni).collect();
        assert_eq!(patroni.len(), 1, "one process of Patroni's");
        let server = with_children(server_of(&member.data()));
        for process in patroni.into_iter().chain(server) {
            // One that has ended meanwhile needs none.
            let _ = rustix::process::kill_process(Pid::from_raw(process).unwrap(), Signal::KILL);
        }
    }

    /// Writes something that has nothing to do with the ledger, and waits until a standby has it.
    pub(crate) fn writes(&self, member: usize) -> bool {
        let sql = "create table if not exists probe (at timestamptz); insert into probe values (now())";
        self.members[member].execute("postgres", sql).is_ok()
    }

    fn until_it_is(&self, member: usize, what: &str, sql: &str, number: i64) {
        until(what, || self.members[member].number("postgres", sql) == Some(number));
    }
}

impl Etcd {
    fn start(client: u16, peer: u16) -> Etcd {
        let folder = new_folder("outlay-etcd-");
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut program = as_server(Path::new(ETCD));
        program.args(["--name", "etcd", "--log-level", "error", "--data-dir"]).arg(folder.join("data"));
        program.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        program.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        program.args(["--initial-cluster", &format!("etcd={peer}")]);
        Etcd(Some(watched(&folder, &program, "TERM")))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(end);
    }
}

impl Member {
    fn start(no: usize, port: u16, port_of_patroni: u16, etcd: u16) -> Member {
        let folder = new_folder("outlay-patroni-");
        let settings = settings(no, &folder, port, port_of_patroni, etcd);
        std::fs::write(folder.join("patroni.yml"), settings).unwrap();
        let mut program = as_server(Path::new(PATRONI));
        program.arg(folder.join("patroni.yml"));
        let watched = Some(watched(&folder, &program, "TERM"));
        Member { folder, port, watched }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(SERVICE_USER).dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A number that it gives, if it answers.
    fn number(&self, database: &str, sql: &str) -> Option<i64> {
        block_on(async { Some(self.connect(database).await.ok()?.query_one(sql, &[]).await.ok()?.get(0)) })
    }

    fn execute(&self, database: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
        block_on(async { self.connect(database).await?.batch_execute(sql).await })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let folder = self.folder.join("log");
        if std::thread::panicking() {
            eprintln!("what Patroni said:\n{}", std::fs::read_to_string(folder).unwrap_or_default());
        }
        self.watched.take().into_iter().for_each(end);
    }
}

/// As an operator would write it who wants nothing lost.
fn settings(no: usize, folder: &Path, port: u16, port_of_patroni: u16, etcd: u16) -> String {
    let (folder, programs) = (folder.display(), programs());
    let programs = programs.display();
    format!(
        "\
scope: outlay
name: member{no}
restapi: {{listen: '127.0.0.1:{port_of_patroni}', connect_address: '127.0.0.1:{port_of_patroni}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: {TTL}
    loop_wait: 5
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      parameters: {{max_connections: 150, shared_buffers: 32MB}}
  initdb: [encoding: UTF8, locale: C, auth: trust]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {folder}/data
  bin_dir: {programs}
  pgpass: {folder}/pgpass
  authentication: {{superuser: {{username: {SERVICE_USER}}}, replication: {{username: replicator}}}}
  parameters: {{unix_socket_directories: '{folder}'}}
  pg_hba: ['local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
"
    )
}

/// Ports that nobody listens on: two for etcd, and two for each member.
fn free_ports() -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..2 + 2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// A folder that belongs to the servers' user.
fn new_folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap().keep();
    if rustix::process::geteuid().is_root() {
        run(Command::new("chown").arg(SERVICE_USER).arg(&folder));
    }
    folder
}
