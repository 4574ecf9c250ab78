//! A copy of the whole store, as of one moment, while it goes on.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::page::Parameters;
use super::problem::{Kind, Problem};
use super::{SharedApp, audit, schemas};
use crate::audit::{Action, Actor};

/// Bytes that are read of the copy at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Copy the whole store
///
/// As of one moment, while it goes on. A store in PostgreSQL is not copied here (409): pgBackRest and `pg_dump` do that.
#[utoipa::path(get, path = "/v1/backup", tag = "Operator",
    operation_id = "backup",
    responses((status = 200, description = "The file", content_type = "application/vnd.sqlite3", body = Vec<u8>),
        schemas::ReadProblems))]
pub(super) async fn backup(
    State(app): State<SharedApp>,
    actor: Actor,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    if let Some(by) = app.reads.status().backed_up_by {
        let detail = format!("This store is in PostgreSQL: back it up with {by}.");
        return Err(Problem::new(Kind::BackedUpElsewhere).detail(detail));
    }
    audit::note(&app, actor.did(Action::BackupTaken)).await?;
    let path = app.scratch.join(format!("backup-{}.db", app.ids.request()));
    make_private(&app.scratch).await.map_err(|error| broken(&error))?;
    let copy = Copy(path);
    app.writer.backup(copy.0.clone()).await?;
    let file = File::open(&copy.0).await.map_err(|error| broken(&error))?;
    let bytes = file.metadata().await.map_err(|error| broken(&error))?.len();
    // The open file stays readable without its name.
    drop(copy);

    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"outlay-backup.db\"")),
        (CONTENT_LENGTH, HeaderValue::from(bytes)),
    ];
    let body = Body::from_stream(stream::try_unfold(file, |mut file| async {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = file.read_buf(&mut piece).await?;
        io::Result::Ok((read > 0).then(|| (piece.freeze(), file)))
    }));
    Ok((headers, body).into_response())
}

/// Makes the folder of copies, which nobody else may read: a copy holds all that the store does.
async fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder).await
}

fn broken(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::StorageFull => Problem::new(Kind::DiskFull).detail("There is no room for the copy."),
        _ => Problem::new(Kind::StoreUnavailable).detail("The copy could not be made."),
    }
    .because(error)
}

/// The file of a copy, whose name goes away with this, also when the client leaves before.
#[derive(Debug)]
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}
