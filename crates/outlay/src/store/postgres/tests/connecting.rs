//! How the store reaches its database: encrypted, on whichever host takes writes, and through a pooler.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::SecretString;

use super::super::{Buckets, Settings, open};
use super::bouncer::Bouncer;
use super::cluster::{self, block_on};
use super::server::{self, SERVICE_USER, Server};
use super::settings;
use crate::clock::SystemClock;
use crate::store::StoreError;
use crate::store::tests::{Ledgers, suite};

/// What is said where a store cannot be opened; empty where it can be.
fn refusal(settings: Settings) -> String {
    match open(settings) {
        Ok(_) => String::new(),
        Err(StoreError::Unavailable(said)) => said,
        Err(error) => panic!("{error}"),
    }
}

fn of_url(url: &str) -> Settings {
    Settings::new(url, SystemClock::shared()).unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that takes only encrypted connections, with a certificate for `localhost` of an authority of its own; and
/// where that authority's certificate lies.
fn encrypting_server() -> (Server, PathBuf) {
    let mut server = Server::new(&["listen_addresses=127.0.0.1", "ssl=on"]);
    server.port = free_port();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    // The server reads them as its own user, and insists that nobody else can read the key.
    for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let mut install = server::as_server("install".as_ref());
        std::fs::write(server.folder.join(name), text).unwrap();
        server::run(install.args(["-m", "600"]).arg(server.folder.join(name)).arg(server.data().join(name)));
    }
    let file = server.folder.join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    server.start();
    block_on(async {
        let client = cluster::connect(&server.config("postgres")).await;
        client.batch_execute("create role outlay login password 'hush'").await.unwrap();
        client.batch_execute("create database ledger owner outlay").await.unwrap();
    });
    (server, file)
}

#[test]
fn a_server_must_prove_its_name_before_it_is_spoken_to() {
    let (server, authority) = encrypting_server();
    let port = server.port;
    let password = SecretString::from("hush");
    let roots = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let at = |host: &str, query: &str| of_url(&format!("postgres://outlay@{host}:{port}/ledger?{query}"));

    let plain = refusal(at("localhost", "").with_password(&password));
    assert!(plain.contains("no encryption"), "the server takes no plain connection: {plain}");
    let unknown = refusal(at("localhost", "sslmode=verify-full").with_password(&password));
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let wrong_name = refusal(at("127.0.0.1", &roots).with_password(&password));
    assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    // Nobody is asked by its name where the address is given: the name must be right all the same.
    let elsewhere = refusal(at("db.example.org", &format!("{roots}&hostaddr=127.0.0.1")).with_password(&password));
    assert!(elsewhere.contains("not valid for name"), "{elsewhere}");
    let wrong_password = refusal(at("localhost", &roots).with_password(&SecretString::from("loud")));
    assert!(wrong_password.contains("28P01"), "{wrong_password}");

    let bound = at("localhost", &format!("{roots}&channel_binding=require")).with_password(&password);
    let (_store, reads) = open(bound).unwrap();
    assert_eq!(block_on(reads.verify()).unwrap(), []);
    let encrypted: Vec<bool> = block_on(async {
        let client = cluster::connect(&server.config("ledger")).await;
        let sql = "select s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) where a.usename = 'outlay' and \
                   a.application_name = 'outlay'";
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    });
    assert!(!encrypted.is_empty() && encrypted.iter().all(|encrypted| *encrypted), "{encrypted:?}");
}

/// One host is not there, one does not answer, one is a standby, and one takes writes.
#[test]
fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let mut primary = Server::new(&[]);
    primary.start();
    let mut standby = primary.standby("s1");
    standby.start();
    let silent = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(silent.path().join(".s.PGSQL.5432")).unwrap();
    let at = |hosts: &[&std::path::Path]| {
        let hosts: Vec<_> = hosts.iter().map(|folder| folder.to_str().unwrap()).collect();
        of_url(&format!("postgres://{SERVICE_USER}@/postgres?connect_timeout=5&host={}", hosts.join(",")))
    };
    let nowhere = silent.path().join("none");
    let none = refusal(at(&[&nowhere, silent.path(), &standby.folder]));
    assert!(none.contains("No such file") && none.contains("no answer within 5 s"), "{none}");
    assert!(none.contains("it takes no writes"), "{none}");
    let (_store, reads) = open(at(&[&nowhere, silent.path(), &standby.folder, &primary.folder])).unwrap();
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// All that a store must do, where each transaction may be on another connection of the pooler's.
#[test]
fn a_pooler_may_stand_before_the_server() {
    for (seed, buckets) in [(21, Buckets::of_bits(0).unwrap()), (22, Buckets::USUAL)] {
        let bouncer = Bouncer::before(&cluster::database(buckets));
        let ledgers = if buckets == Buckets::USUAL {
            let numbering = |bucket| (Buckets::USUAL.first_no(bucket), Buckets::USUAL.step());
            Ledgers::of_many(|command| Buckets::USUAL.of_command(command), numbering)
        } else {
            Ledgers::of_one()
        };
        let opened = |clock| open(Settings { prepared: false, ..settings(&bouncer.config, buckets, clock) }).unwrap();
        suite(seed, 60, ledgers, opened);
    }
}

/// The tables are made through a pooler too, by nodes that start together, and the lock is not left behind.
#[test]
fn tables_can_be_made_through_a_pooler() {
    let bouncer = Bouncer::before(&cluster::empty_database());
    let clock = SystemClock::shared;
    let node = || open(Settings { prepared: false, ..settings(&bouncer.config, Buckets::USUAL, clock()) }).unwrap();
    let identities = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..3).map(|_| scope.spawn(|| node().1.deployment_id())).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(identities.iter().all(|identity| *identity == identities[0]), "{identities:?}");
    assert_eq!(node().1.deployment_id(), identities[0]);
}
