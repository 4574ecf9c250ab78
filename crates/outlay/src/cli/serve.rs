//! `outlay serve`: the store, its writer and its sweeper, and the listeners before them.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::reload::{self, Reloading};
use super::{Exit, Failure, runtime, show};
use crate::client::SOCKET_NAME;
use crate::clock::SystemClock;
use crate::config::{Config, Flags, settings};
use crate::delivery::courier::Courier;
use crate::http;
use crate::local::{Local, LocalError, Purpose, WriterEnd};
use crate::recheck;
use crate::retention;

/// Start the server
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay serve --open\n  OUTLAY_ADMIN_KEY_FILE=/run/secrets/admin outlay serve --data /var/lib/outlay \
        --listen 10.0.0.5:4780\n  outlay serve --public-listen 0.0.0.0:4781 --config /etc/outlay.toml\n  \
        OUTLAY_STORE_PASSWORD_FILE=/run/secrets/db OUTLAY_MASTER_KEY_FILE=/run/secrets/master outlay serve \
        --store postgres://outlay@db.example.org/outlay --listen 10.0.0.5:4780",
    after_long_help = format!(
        "Examples:\n  outlay serve --open\n  OUTLAY_ADMIN_KEY_FILE=/run/secrets/admin outlay serve --data /var/lib/outlay \
        --listen 10.0.0.5:4780\n  outlay serve --public-listen 0.0.0.0:4781 --config /etc/outlay.toml\n  \
        OUTLAY_STORE_PASSWORD_FILE=/run/secrets/db OUTLAY_MASTER_KEY_FILE=/run/secrets/master outlay serve \
        --store postgres://outlay@db.example.org/outlay --listen 10.0.0.5:4780\n\n\
        With --store any number of servers, each a node, work on one PostgreSQL database (14 or later), whose tables the first \
        one makes; they share OUTLAY_MASTER_KEY, and what is local to a node is in its own --data.\n\n\
        It prints `listening on http://ADDRESS` to standard output once it listens, and ends cleanly on SIGTERM or \
        SIGINT. On SIGHUP it reads plans, labels, links, for how long details are kept and the log's filter anew.\n\n{}", settings::help())
)]
pub(super) struct Serve {
    /// The address to listen on [OUTLAY_LISTEN; default 127.0.0.1:4780]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,
    /// A second address, which serves only what needs no key or a user token [OUTLAY_PUBLIC_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    public_listen: Option<String>,
    /// No key is needed; only on loopback addresses [OUTLAY_OPEN]
    #[arg(long)]
    open: bool,
    /// The server's own address as others see it [OUTLAY_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where a user goes who needs a larger plan [OUTLAY_UPGRADE_URL]
    #[arg(long, value_name = "URL")]
    upgrade_url: Option<String>,
    /// Comma list of origins whose pages may read what a user token may read [OUTLAY_ALLOWED_ORIGINS]
    #[arg(long, value_name = "ORIGINS")]
    allowed_origins: Option<String>,
    /// Where the audit log is copied to, `stderr` or a file [OUTLAY_AUDIT_LOG]
    #[arg(long, value_name = "FILE")]
    audit_log: Option<String>,
    /// For how many days an operation keeps its details, 7 to 36500; for ever if absent [OUTLAY_KEEP_DETAILS_DAYS]
    #[arg(long, value_name = "DAYS")]
    keep_details_days: Option<String>,
    /// Comma list of networks of proxies whose Forwarded or X-Forwarded-For is believed [OUTLAY_TRUSTED_PROXIES]
    #[arg(long, value_name = "NETWORKS")]
    trusted_proxies: Option<String>,
    /// Acknowledge nothing that is not on a synchronous standby of the database too [OUTLAY_REQUIRE_SYNC]
    #[arg(long)]
    require_sync: bool,
}

impl Serve {
    /// Says what the flags say.
    pub(super) fn say(self, flags: &mut Flags) {
        flags.say(&settings::LISTEN, self.listen);
        flags.say(&settings::PUBLIC_LISTEN, self.public_listen);
        flags.say(&settings::OPEN, self.open.then_some("true"));
        flags.say(&settings::PUBLIC_URL, self.public_url);
        flags.say(&settings::UPGRADE_URL, self.upgrade_url);
        flags.say(&settings::ALLOWED_ORIGINS, self.allowed_origins);
        flags.say(&settings::AUDIT_LOG, self.audit_log);
        flags.say(&settings::KEEP_DETAILS_DAYS, self.keep_details_days);
        flags.say(&settings::TRUSTED_PROXIES, self.trusted_proxies);
        flags.say(&settings::REQUIRE_SYNC, self.require_sync.then_some("true"));
    }

    pub(super) fn run(self, mut flags: Flags) -> Result<Exit, Failure> {
        self.say(&mut flags);
        let (config, reloading) = Reloading::read(flags)?;
        let runtime = runtime(true)?;
        let served = runtime.block_on(async {
            let hangups = reload::hangups();
            let local =
                Local::open(&config, SystemClock::shared(), Purpose::Serving).await.map_err(|error| opening(&error))?;
            let listeners = Listeners::bind(&config).await?;
            let beside = reloading.at_each_hangup(hangups, Arc::clone(&local.app));
            serve(local, listeners, beside).await
        });
        // A read that still runs must not keep a process that has to end.
        runtime.shutdown_background();
        served
    }
}

/// What a server listens on.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Where it really listens: port 0 in the settings is any free one.
    pub(super) address: std::net::SocketAddr,
    private: TcpListener,
    public: Option<TcpListener>,
    socket_path: PathBuf,
}

impl Listeners {
    /// Those that a service manager kept, else new ones. A kept one stays with the manager while the server restarts, so that
    /// who connects meanwhile waits and is not refused.
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        let mut kept = kept_listeners()?.into_iter();
        let private = match kept.next() {
            Some(listener) => listener,
            None => bind(config.listen).await?,
        };
        let public = match (kept.next(), config.public_listen) {
            (Some(listener), _) => Some(listener),
            (None, Some(address)) => Some(bind(address).await?),
            (None, None) => None,
        };
        let address = private.local_addr().map_err(Failure::io("listen"))?;
        if config.open && !address.ip().is_loopback() {
            let why =
                format!("--open needs no key, and the socket that was kept listens on {address}, which others reach");
            return Err(Failure::Usage(why));
        }
        Ok(Self { address, private, public, socket_path: config.data.join(SOCKET_NAME) })
    }
}

/// The listeners that whoever started this process handed to it (`LISTEN_FDS`, as systemd does): the first in place of
/// `--listen`, a second one in place of `--public-listen`.
fn kept_listeners() -> Result<Vec<TcpListener>, Failure> {
    let mut handed = listenfd::ListenFd::from_env();
    if handed.len() > 2 {
        return Err(Failure::Usage(format!(
            "{} sockets were kept for this server; it listens on two at most",
            handed.len()
        )));
    }
    let take = |index| {
        let listener = handed.take_tcp_listener(index).transpose()?;
        Some(listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        }))
    };
    let listeners: io::Result<Vec<TcpListener>> = (0..2).filter_map(take).collect();
    listeners.map_err(Failure::io("listen on the socket that was kept"))
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(Failure::io(format!("listen on {address} (--listen names another address)")))
}

/// The socket for the owner of the folder. Without it the server is whole; only commands beside it need an address and a key.
fn bind_socket(path: &Path) -> Option<UnixListener> {
    // The folder's lock is held, so a socket that lies here is of a process that is gone.
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let bound = removed.and_then(|()| UnixListener::bind(path)).and_then(|listener| {
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    bound.map_err(|error| tracing::warn!("failed to listen on {}: {error}", path.display())).ok()
}

/// Says where it listens, serves until a signal, then finishes what was asked and closes the store; `beside` runs meanwhile.
pub(super) async fn serve(
    local: Local,
    listeners: Listeners,
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<Exit, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("wait for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::io("wait for signals"))?;
    let socket = bind_socket(&listeners.socket_path);
    show::line(&format!("listening on http://{}", listeners.address))?;
    let (stop, stopped) = watch::channel(false);
    let private = http::router(Arc::clone(&local.app));
    let mut doors = tokio::task::JoinSet::new();
    let proxies = || local.app.access.proxies().clone();
    doors.spawn(http::server::serve(listeners.private, private.clone(), proxies(), stopped.clone()));
    if let Some(public) = listeners.public {
        let router = http::public_router(Arc::clone(&local.app));
        doors.spawn(http::server::serve(public, router, proxies(), stopped.clone()));
    }
    if let Some(socket) = socket {
        doors.spawn(http::server::serve_owner(socket, private, stopped));
    }
    let mut helpers = tokio::task::JoinSet::new();
    helpers.spawn(Local::sweep(local.app.writer.clone()));
    helpers.spawn(Courier::new(Arc::clone(&local.app)).run());
    helpers.spawn(Local::keep_time(Arc::clone(&local.app)));
    helpers.spawn(local.copy_audit());
    helpers.spawn(retention::keep(Arc::clone(&local.app)));
    let app = Arc::clone(&local.app);
    helpers.spawn(async move {
        recheck::marked_plans(app.writer.clone(), Arc::clone(&app.reads)).await;
        // Like its fellows it ends only with the server.
        std::future::pending::<()>().await;
    });
    helpers.spawn(beside);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        end = local.ended() => {
            let why = match end {
                WriterEnd::Poisoned(why) => why,
                WriterEnd::Running | WriterEnd::Closed => "the writer ended by itself".to_owned(),
            };
            // Nothing may be acknowledged any more, so nothing is finished: the process ends here and now.
            tracing::error!("failed to {why}; the next start carries on");
            return Ok(Exit::Failed);
        }
        Some(ended) = helpers.join_next() => {
            tracing::error!("a task that runs for ever ended: {ended:?}");
            return Ok(Exit::Failed);
        }
    }
    tracing::info!("stopping: what was asked is finished first");
    helpers.shutdown().await;
    // An event stream would go on for ever.
    local.app.reads.feed().close();
    stop.send_replace(true);
    let finished = async { while doors.join_next().await.is_some() {} };
    tokio::select! {
        () = finished => {}
        // Nothing that was asked can be finished any more.
        WriterEnd::Poisoned(why) = local.ended() => {
            tracing::error!("failed to {why}; the next start carries on");
            return Ok(Exit::Failed);
        }
        () = tokio::time::sleep(STOP_WAIT) => tracing::warn!("some connections did not end in time, and are cut"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Before the folder is free for the next: it must not be the next one's socket that goes.
    let _ = std::fs::remove_file(&listeners.socket_path);
    local.close().await?;
    Ok(Exit::Done)
}

/// How long requests may take to finish once the server was asked to stop.
const STOP_WAIT: std::time::Duration = std::time::Duration::from_secs(20);

/// Why a store cannot be opened, as a failure of the command.
pub(super) fn opening(error: &LocalError) -> Failure {
    if error.is_of_settings() {
        return Failure::Usage(format!("failed to {error}"));
    }
    Failure::Other(format!("failed to {error}"))
}
