//! Pages from fixed figures, as text: what is shown, how it is rounded, and where it links to.

use std::sync::Arc;

use outlay_core::breakdown::{Dimensions, Sums, TokenSums};
use outlay_core::id::{Name, UserNo};
use outlay_core::money::UsdSum;
use outlay_core::month::Day;
use outlay_core::operation::UsageType;
use outlay_core::plan::{Amounts, Overrides, PerMeter, Plans};
use outlay_core::user::{User, UserMonth};

use super::frame::{Around, Theme, framed};
use super::links::Links;
use super::*;
use crate::store::{Overview, UserItem, UserSort, UsersQuery};

const HOSTILE: &str = "<img src=x onerror=alert(1)> \u{202e}\"'&";

fn now() -> Timestamp {
    Timestamp::parse("2025-10-13T14:03:02.5Z").unwrap()
}

fn item(user_id: &str, plan: &str, cost: i64, ai_runs: i64, held: Amounts) -> UserItem {
    let user = User {
        no: UserNo(1),
        tag: 0,
        user_id: UserId::new(user_id).unwrap(),
        plan: Some(Name::new(plan).unwrap()),
        email: None,
        overrides: Overrides::default(),
        months: vec![now().month()],
        last_session: None,
        last_denial: None,
        last_alert: None,
        created_at: now(),
    };
    let used = Amounts { cost, ai_runs, api_runs: 0 };
    let month = UserMonth { used, operations: 3, last_updated_at: Some(now()), ..UserMonth::empty(now().month()) };
    UserItem { user: Arc::new(user), month, held }
}

fn day(month: Month, day: u8, feature: &str, picos: i128) -> (Day, Dimensions, Sums) {
    let name = |text: &str| Name::new(text).unwrap();
    let dimensions =
        Dimensions { usage_type: UsageType::Ai, feature: name(feature), provider: name("gemini"), model: None };
    let sums = Sums {
        cost: UsdSum::from_picos(picos),
        operations: 4,
        billable_runs: 2,
        tokens: TokenSums { input: 10, output: 5 },
    };
    (Day::new(month, day), dimensions, sums)
}

fn overview() -> overview::View {
    let month = now().month();
    let days = vec![
        day(month.minus(1), 2, "business_card_scan", 500_000_000_000),
        day(month.minus(1), 30, "business_card_scan", 900_000_000_000),
        day(month, 1, "business_card_scan", 1_607_850_000),
        day(month, 12, HOSTILE, 2_000_000_000_000),
    ];
    let overview = Overview {
        as_of: now(),
        plans: Arc::new(Plans::standard()),
        days,
        held: PerMeter { cost: 37_000_000_000, ai_runs: 1, api_runs: 0 },
        open_sessions: 1,
        active_users: 1_204,
        erased_users: 2,
        active_users_before: 1_100,
        states: [1_200, 2, 1, 1],
        top_users: vec![item(HOSTILE, "premium", 2_000_000_000_000, 29, Amounts { ai_runs: 1, ..Amounts::ZERO })],
        alerts: Vec::new(),
        denials: Vec::new(),
    };
    overview::View {
        month,
        by: breakdown::By::Feature,
        overview,
        band: Some(chart::Band { low: 3_800_000_000_000, projected: 4_120_000_000_000, high: 4_550_000_000_000 }),
        ahead: vec![Some(parts::LimitAhead { meter: outlay_core::plan::Meter::AiRuns, days: 6 })],
    }
}

fn whole(page: &Page, path: &str, viewer: Viewer) -> String {
    let links = Links::from_path(path);
    let around =
        Around { links: &links, address: path.trim_start_matches('/'), viewer, theme: Theme::Dark, shortcuts: true };
    framed(page, &around).into_string()
}

/// A line per tag, without the versions of files.
fn lines(html: &str) -> String {
    let html = html.replace("><", ">\n<");
    let mut lines: Vec<String> = html.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if let Some(at) = line.find("?v=") {
            line.replace_range(at + 3..at + 19, "VERSION");
        }
    }
    lines.join("\n")
}

const ADMIN: Viewer = Viewer { role: Role::Admin, signed_in: true };
const VIEWER: Viewer = Viewer { role: Role::Viewer, signed_in: true };

#[test]
fn an_overview_is_drawn_of_one_snapshot() {
    let page = overview::page(&overview(), &Links::from_path("/"));
    insta::assert_snapshot!("overview", lines(&whole(&page, "/", ADMIN)));
}

#[test]
fn a_list_of_users_is_drawn_as_it_was_asked_for() {
    let query = UsersQuery {
        month: now().month(),
        sort: UserSort::Percent,
        descending: true,
        active: false,
        state: None,
        plan: Some(Name::new("premium").unwrap()),
        prefix: Some("a&b".to_owned()),
        after: None,
        limit: users::ROWS,
    };
    let items = vec![item(HOSTILE, "premium", 1_607_850_000, 1, Amounts::ZERO)];
    let view = users::View {
        query,
        items,
        ahead: vec![None],
        next: Some("CURSOR".to_owned()),
        plans: Arc::new(Plans::standard()),
        as_of: now(),
    };
    let page = users::page(&view, &Links::from_path("/users"));
    insta::assert_snapshot!("users", lines(&whole(&page, "/users", VIEWER)));
}

#[test]
fn nothing_that_an_application_chose_is_taken_for_markup() {
    let html = whole(&overview::page(&overview(), &Links::from_path("/")), "/", ADMIN);
    assert!(!html.contains("<img") && html.contains("&lt;img src=x onerror=alert(1)&gt;"), "{html}");
    assert!(html.contains("users/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%20%E2%80%AE%22%27%26"), "{html}");
}

#[test]
fn what_a_viewer_may_not_do_is_not_drawn() {
    let view = plans::View {
        plans: Arc::new(Plans::standard()),
        users: vec![0; 5],
        are_configured: false,
        editing: None,
        as_of: now(),
    };
    let links = Links::from_path("/plans");
    let drawn = |viewer| whole(&plans::page(&view, &links, viewer), "/plans", viewer);
    assert!(drawn(ADMIN).contains("?edit=premium"));
    assert!(!drawn(VIEWER).contains("?edit="));
}
