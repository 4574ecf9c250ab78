//! What the people of the sample data do: scans, place searches, enrichments, searches and enhancements, each with what it
//! would set aside and the operations that it comes to. The figures are those of the application that Outlay comes from.

use std::ops::RangeInclusive;
use std::sync::Arc;

use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Tokens, UNKNOWN_PROVIDER, UsageType};
use outlay_core::plan::Amounts;
use outlay_core::session::{Ask, Choice, Finish};
use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::people::letters;

/// Picodollars of a tenth of a microdollar, in which the figures below are written.
const TENTH_MICRO: i64 = 100_000;

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A business card: reading it, and with AI extracting its fields.
    Scan,
    /// A place: some letters typed, then the details.
    PlaceSearch,
    /// A contact: where it is, what is there, a tag, an embedding.
    Enrichment,
    /// A question to the contacts.
    Search,
    /// Some contacts worked over with a large model.
    Enhancement,
}

impl Act {
    /// How often an average premium user does each in a month.
    pub(super) const PER_MONTH: [(Self, RangeInclusive<u32>); 5] = [
        (Self::Scan, 8..=28),
        (Self::PlaceSearch, 10..=40),
        (Self::Enrichment, 10..=60),
        (Self::Search, 20..=80),
        (Self::Enhancement, 0..=3),
    ];

    /// How a session of it is called, in its id.
    const fn short(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::PlaceSearch => "place",
            Self::Enrichment => "enrich",
            Self::Search => "search",
            Self::Enhancement => "enhance",
        }
    }

    /// The feature that its session is opened for.
    const fn feature(self) -> &'static str {
        match self {
            Self::Scan => "business_card_scan",
            Self::PlaceSearch => "google_maps_place_search",
            Self::Enrichment => "contact_enrichment",
            Self::Search => "semantic_search",
            Self::Enhancement => "semantic_search_ai_enhance",
        }
    }
}

/// One thing on its way: what it asks for, and what it then comes to.
#[derive(Debug, Clone)]
pub(super) struct Doing {
    pub(super) session_id: SessionId,
    pub(super) feature: Name,
    /// What is set aside; none for a session that is made by its steps.
    pub(super) ask: Option<Ask>,
    /// It ends without a word, as when an application crashes.
    pub(super) unfinished: bool,
    act: Act,
    contacts: i64,
    tagged: bool,
}

/// One operation before it belongs to a user and an instant.
struct Call {
    feature: &'static str,
    usage_type: UsageType,
    provider: &'static str,
    model: Option<&'static str>,
    /// In tenths of a microdollar.
    cost: i64,
    run: bool,
    milliseconds: u64,
    tokens: Option<(u64, u64)>,
}

impl Doing {
    /// Makes up what somebody does at this instant.
    pub(super) fn new(act: Act, at: Timestamp, random: &mut Pcg64) -> Self {
        let contacts = random.random_range(5..=10);
        let tagged = random.random_ratio(15, 100);
        let ask = match act {
            Act::Scan => Some(choices(&[("ai_enhanced", amounts(31_500, 1, 0)), ("basic", amounts(30_000, 0, 1))])),
            Act::PlaceSearch => Some(Ask::Estimate(amounts(311_500, 0, 1))),
            Act::Enrichment => Some(choices(&[
                ("full", amounts(371_200, 1, 2)),
                ("without_tags", amounts(370_000, 0, 2)),
                ("cached_only", amounts(50_000, 0, 1)),
            ])),
            Act::Search => {
                tagged.then(|| choices(&[("tagged", amounts(25_100, 1, 0)), ("plain", amounts(23_000, 0, 0))]))
            }
            Act::Enhancement => Some(Ask::Estimate(amounts(17_000 * contacts, contacts, 0))),
        };
        let milliseconds = at.nanos() / 1_000_000;
        let session_id = format!("session_{}_{milliseconds}_{}", act.short(), letters(random, 4));
        Self {
            session_id: SessionId::from_stored(session_id),
            feature: Name::from_stored(act.feature()),
            ask,
            unfinished: random.random_ratio(3, 100),
            act,
            contacts,
            tagged,
        }
    }

    /// The operations that it comes to within the choice that won, the last of which finishes it.
    pub(super) fn operations(
        &self,
        choice: Option<&str>,
        user_id: &UserId,
        started: Timestamp,
        random: &mut Pcg64,
    ) -> Vec<NewOperation> {
        let mut calls = self.calls(choice, random);
        if self.unfinished {
            calls.truncate(calls.len().div_ceil(2));
        }
        let mut at = started;
        let last = calls.len().saturating_sub(1);
        let mut operations = Vec::with_capacity(calls.len());
        for (place, call) in calls.into_iter().enumerate() {
            at = at.plus_nanos(i128::from(call.milliseconds) * 1_000_000);
            let finish = (place == last && !self.unfinished)
                .then(|| if random.random_ratio(2, 100) { Finish::Failed } else { Finish::Completed });
            operations.push(call.operation(user_id, &self.session_id, at, finish, random));
        }
        operations
    }

    fn calls(&self, choice: Option<&str>, random: &mut Pcg64) -> Vec<Call> {
        match self.act {
            Act::Scan => scan(choice == Some("ai_enhanced"), random),
            Act::PlaceSearch => place_search(random),
            Act::Enrichment => enrichment(choice.unwrap_or("cached_only"), random),
            Act::Search => search(self.tagged && choice == Some("tagged"), random),
            Act::Enhancement => (0..self.contacts).map(|_| enhanced_contact(random)).collect(),
        }
    }
}

fn scan(enhanced: bool, random: &mut Pcg64) -> Vec<Call> {
    let ocr =
        |run, random: &mut Pcg64| api("business_card_scan_ocr", "google_vision_ocr", 15_000, run, 300..=900, random);
    let mut calls = vec![ocr(!enhanced, random)];
    if random.random_ratio(1, 5) {
        // The other side of the card.
        calls.push(ocr(false, random));
    }
    if enhanced {
        let (input, output) = (random.random_range(520..880), random.random_range(40..110));
        let cost = random.random_range(800..1_400);
        calls.push(ai("business_card_scan", "gemini", "gemini-2.5-flash-lite", cost, true, (input, output), random));
    }
    calls
}

fn place_search(random: &mut Pcg64) -> Vec<Call> {
    let mut calls: Vec<Call> = (0..random.random_range(2..=5))
        .map(|_| api("google_maps_autocomplete", "google_maps", 28_300, false, 60..=180, random))
        .collect();
    calls.push(api("google_maps_place_details", "google_maps", 170_000, true, 120..=400, random));
    calls
}

fn enrichment(choice: &str, random: &mut Pcg64) -> Vec<Call> {
    let mut calls = vec![api("location_reverse_geocoding", "google_maps", 50_000, true, 80..=240, random)];
    if choice != "cached_only" && random.random_ratio(30, 100) {
        calls.push(api("google_maps_nearby_search", "google_maps", 320_000, true, 150..=600, random));
    } else {
        calls.push(api("location_venue_search_cached", "redis_cache", 0, false, 1..=4, random));
    }
    if choice == "full" && random.random_ratio(20, 100) {
        let tokens = (random.random_range(160..420), random.random_range(12..40));
        calls.push(ai("contact_auto_tagging", "gemini", "gemini-2.5-flash", 1_065, true, tokens, random));
    }
    calls.push(api("contact_vector_embedding", "self-hosted", 0, false, 8..=30, random));
    calls
}

fn search(tagged: bool, random: &mut Pcg64) -> Vec<Call> {
    let tokens = (random.random_range(90..220), random.random_range(20..60));
    let mut calls = vec![ai("query_enhancement", "gemini", "gemini-2.5-flash-lite", 3_000, false, tokens, random)];
    if tagged {
        calls.push(ai("query_tagging", "gemini", "gemini-2.5-flash-lite", 2_000, true, tokens, random));
    }
    calls.push(api("semantic_search_vector", "qdrant", 0, false, 6..=25, random));
    if random.random_ratio(3, 5) {
        calls.push(api("semantic_search_rerank", "cohere", 20_000, false, 90..=260, random));
    }
    calls
}

fn enhanced_contact(random: &mut Pcg64) -> Call {
    let (input, output) = (random.random_range(700..1_300), random.random_range(60..140));
    let cost = random.random_range(12_500..16_500);
    ai("semantic_search_ai_enhance", "gemini", "gemini-2.5-pro", cost, true, (input, output), random)
}

fn api(
    feature: &'static str,
    provider: &'static str,
    cost: i64,
    run: bool,
    milliseconds: RangeInclusive<u64>,
    random: &mut Pcg64,
) -> Call {
    let milliseconds = random.random_range(milliseconds);
    Call { feature, usage_type: UsageType::Api, provider, model: None, cost, run, milliseconds, tokens: None }
}

fn ai(
    feature: &'static str,
    provider: &'static str,
    model: &'static str,
    cost: i64,
    run: bool,
    tokens: (u64, u64),
    random: &mut Pcg64,
) -> Call {
    let milliseconds = random.random_range(350..1_900);
    Call {
        feature,
        usage_type: UsageType::Ai,
        provider,
        model: Some(model),
        cost,
        run,
        milliseconds,
        tokens: Some(tokens),
    }
}

impl Call {
    fn operation(
        self,
        user_id: &UserId,
        session_id: &SessionId,
        at: Timestamp,
        finish: Option<Finish>,
        random: &mut Pcg64,
    ) -> NewOperation {
        let id = format!("usage_{}_{}", at.nanos() / 1_000_000, letters(random, 6));
        let mut operation = NewOperation {
            operation_id: OperationId::from_stored(id),
            user_id: user_id.clone(),
            usage_type: self.usage_type,
            feature: Name::from_stored(self.feature),
            provider: Name::from_stored(if self.provider.is_empty() { UNKNOWN_PROVIDER } else { self.provider }),
            model: self.model.map(Name::from_stored),
            cost: Usd::from_picos(self.cost * TENTH_MICRO),
            tokens: self.tokens.map(|(input, output)| Tokens { input, output, ..Tokens::default() }),
            units: None,
            is_billable_run: self.run,
            session_id: Some(session_id.clone()),
            step_label: None::<Label>,
            step_number: None,
            finish_session: finish,
            duration_ms: Some(self.milliseconds),
            timestamp: Some(at),
            metadata: None,
            fingerprint: Fingerprint([0; 16]),
        };
        operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
        operation
    }
}

/// Amounts with the cost in tenths of a microdollar.
fn amounts(cost: i64, ai_runs: i64, api_runs: i64) -> Amounts {
    Amounts { cost: cost * TENTH_MICRO, ai_runs, api_runs }
}

fn choices(choices: &[(&str, Amounts)]) -> Ask {
    let choices: Arc<[Choice]> =
        choices.iter().map(|(name, estimate)| Choice { name: Name::from_stored(*name), estimate: *estimate }).collect();
    Ask::Choices(choices)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// The hold that an application sets aside is what its session may use at most.
    #[test]
    fn no_session_uses_more_than_its_choice_set_aside() {
        let mut random = Pcg64::seed_from_u64(7);
        let at = Timestamp::parse("2025-10-13T18:32:56Z").unwrap();
        let user_id = UserId::from_stored("u");
        for (act, _) in Act::PER_MONTH {
            for _ in 0..500 {
                let doing = Doing::new(act, at, &mut random);
                let Some(ask) = &doing.ask else { continue };
                for (choice, estimate) in ask.ways() {
                    let operations = doing.operations(choice.map(Name::as_str), &user_id, at, &mut random);
                    let used = operations.iter().fold(Amounts::ZERO, |sum, o| sum.checked_add(&o.amounts()).unwrap());
                    assert_eq!(used.minus_to_zero(estimate), Amounts::ZERO, "{act:?} {choice:?}: {used:?}");
                }
            }
        }
    }
}
