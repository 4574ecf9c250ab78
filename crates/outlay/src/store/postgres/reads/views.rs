//! Views of users, as checks and budgets need them: one statement, in one snapshot. Those that are asked for while one is on
//! its way go together in the next, so that many who ask share a round trip.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use outlay_core::id::UserId;
use outlay_core::ledger::{Held, UserView};
use outlay_core::month::Month;
use tokio::sync::{mpsc, oneshot};

use super::{rows, unless_silent};
use crate::store::StoreError;
use crate::store::postgres::codec::{self, SESSION, USER_MONTH, USERS};
use crate::store::postgres::reader::{Pool, Reader};
use crate::store::postgres::rows::RowReader;
use crate::store::postgres::shared::Shared;

/// Views that one statement reads, at most.
const TOGETHER_MAX: usize = 256;

/// Users with a month and what they hold: a row for each that they hold, or one. `$4` says for which question.
static VIEWS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select u.place, {users}, {months}, {sessions} \
         from unnest($1::int8[], $2::text[], $3::int8[], $4::int8[]) as u (bucket, user_id, month, place) \
         join users t on t.bucket = u.bucket and t.user_id = u.user_id \
         left join user_month m on m.bucket = t.bucket and m.user_no = t.user_no and m.month = u.month \
         left join session s on s.bucket = t.bucket and s.user_no = t.user_no and s.due is not null and s.ask is not null",
        users = USERS.select("t"),
        months = USER_MONTH.select("m"),
        sessions = SESSION.select("s"),
    )
});

/// Somebody who asks.
struct Asked {
    user_id: UserId,
    month: Month,
    answer: oneshot::Sender<Result<Arc<UserView>, StoreError>>,
}

/// Where views are asked for.
#[derive(Debug, Clone)]
pub(in crate::store::postgres) struct Views(mpsc::UnboundedSender<Asked>);

impl Views {
    /// Begins with `tasks` that read, in the runtime that this is called in.
    pub(in crate::store::postgres) fn new(
        readers: &Pool,
        shared: &Arc<Shared>,
        tasks: usize,
        runtime: &tokio::runtime::Runtime,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..tasks {
            runtime.spawn(run(readers.clone(), Arc::clone(shared), Arc::clone(&receiver)));
        }
        Self(sender)
    }

    /// The view of a user: what it says was committed after this was asked, or before.
    pub(super) async fn view(&self, user_id: UserId, month: Month) -> Result<Arc<UserView>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let ended = || StoreError::Unavailable("the server is ending".to_owned());
        self.0.send(Asked { user_id, month, answer }).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// Answers what is asked, until nobody can ask any more.
async fn run(readers: Pool, shared: Arc<Shared>, asked: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>>) {
    loop {
        let mut together = Vec::new();
        if asked.lock().await.recv_many(&mut together, TOGETHER_MAX).await == 0 {
            return;
        }
        if !shared.settings.sharded {
            answer(&readers, &shared, together).await;
            continue;
        }
        // A statement on one bucket goes to where that bucket is, and to nobody else.
        let mut by_bucket: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
        for one in together {
            by_bucket.entry(shared.buckets().of_user(&one.user_id)).or_default().push(one);
        }
        for together in by_bucket.into_values() {
            answer(&readers, &shared, together).await;
        }
    }
}

async fn answer(readers: &Pool, shared: &Shared, together: Vec<Asked>) {
    let read = unless_silent(&shared.connector, read(readers, shared, &together)).await;
    let mut views = read.map(Vec::into_iter);
    for one in together {
        let view = match &mut views {
            Ok(views) => Ok(Arc::new(views.next().unwrap_or_else(UserView::unknown))),
            Err(error) => Err(error.clone()),
        };
        // Whoever has left needs no answer.
        let _ = one.answer.send(view);
    }
}

async fn read(readers: &Pool, shared: &Shared, asked: &[Asked]) -> Result<Vec<UserView>, StoreError> {
    let buckets: Vec<i64> = asked.iter().map(|one| shared.buckets().of_user(&one.user_id).into()).collect();
    let ids: Vec<&str> = asked.iter().map(|one| one.user_id.as_str()).collect();
    let months: Vec<i64> = asked.iter().map(|one| i64::from(one.month.index())).collect();
    let places: Vec<i64> = (0..).take(asked.len()).collect();
    let reader = Reader::of(readers).await?;
    let found = rows(&reader, &VIEWS, &[&buckets, &ids, &months, &places]).await?;
    drop(reader);
    let mut views: Vec<(UserView, Held)> = asked.iter().map(|_| (UserView::unknown(), Held::default())).collect();
    for row in &found {
        let mut row = RowReader::new(row);
        let place = usize::try_from(row.required()?).ok();
        let Some((view, held)) = place.and_then(|place| views.get_mut(place)) else { continue };
        let user = codec::read_user(&mut row)?;
        // The row's sum.
        row.required()?;
        let is_first = view.user.replace(Arc::new(user)).is_none();
        if row.is_null() {
            row.skip(USER_MONTH.names().count());
        } else {
            let (_, month) = codec::read_month(&mut row)?;
            if is_first {
                view.months = [month].into();
            }
        }
        if !row.is_null() {
            held.insert(&codec::read_session(&mut row)?);
        }
    }
    let whole = |(view, held)| UserView { held: Arc::new(held), ..view };
    Ok(views.into_iter().map(whole).collect())
}
