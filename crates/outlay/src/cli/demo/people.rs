//! The users of the sample data: who they are, which plan they are on, and how much they do in a month.

use outlay_core::id::{Name, UserId};
use outlay_core::month::{Day, Month, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::acts::Act;

/// The reader's own user, whom the generator never touches.
pub(super) const READER: &str = "bgtfrdsZ";
/// The seed of all that is made up, unless another is given: the same people do the same in each demo.
pub(super) const SEED: u64 = 0x0017_1A7E;
/// How many months back the sample data goes, beside the running one.
pub(super) const MONTHS_BACK: u32 = 6;

/// Plans by how many people are on them, and how much they do, in percent of what a premium user does.
const PLANS: [(&str, usize, u32); 5] =
    [("base", 3, 12), ("pro", 12, 52), ("premium", 17, 100), ("business", 8, 150), ("enterprise", 4, 320)];
/// How busy the days of a week are, from Monday on.
const WEEKDAYS: [u32; 7] = [100, 115, 120, 112, 90, 34, 26];
/// How busy the hours of a day are, in UTC.
const HOURS: [u32; 24] = [2, 1, 1, 1, 2, 5, 14, 34, 72, 96, 100, 88, 60, 78, 92, 94, 84, 60, 36, 26, 22, 16, 9, 4];

/// Somebody in the sample data.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) user_id: UserId,
    pub(super) plan: Name,
    /// How much they do, in percent of an average premium user.
    pub(super) activity: u32,
    /// How many months before the first one shown they joined; negative ones came later.
    joined: Month,
    seed: u64,
}

/// Everybody, always the same. `first` is the first month of the sample data.
pub(super) fn population(first: Month, seed: u64) -> Vec<Person> {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut people = Vec::new();
    for (plan, count, percent) in PLANS {
        for _ in 0..count {
            let user_id = UserId::from_stored(letters(&mut random, 8));
            // Most do a little less than the plan's usual, a few much more.
            let own =
                if random.random_ratio(1, 6) { random.random_range(125..210) } else { random.random_range(35..125) };
            let joined_late = if random.random_ratio(1, 3) { random.random_range(1..=MONTHS_BACK) } else { 0 };
            people.push(Person {
                user_id,
                plan: Name::from_stored(plan),
                activity: percent * own / 100,
                joined: Month::from_index(first.index() + joined_late),
                seed: random.random(),
            });
        }
    }
    people
}

/// Something that somebody begins at an instant.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) at: Timestamp,
    /// Whose, by place in the population.
    pub(super) person: usize,
    pub(super) act: Act,
    /// The seed of what it comes to.
    pub(super) seed: u64,
}

/// All that the people do in a month, by time.
pub(super) fn month_of(people: &[Person], month: Month) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (index, person) in people.iter().enumerate().filter(|(_, person)| person.joined <= month) {
        let mut random = Pcg64::seed_from_u64(person.seed ^ u64::from(month.index()));
        // A product that grows: everybody does a little more each month.
        let grown = person.activity * (100 + 3 * (month.index() - person.joined.index())) / 100;
        for (act, range) in Act::PER_MONTH {
            let count = random.random_range(range) * grown;
            // The rest of the division is a chance, so that the averages hold for those who do little.
            let count = count / 100 + u32::from(random.random_ratio(count % 100, 100));
            for _ in 0..count {
                plans.push(Plan { at: instant(month, &mut random), person: index, act, seed: random.random() });
            }
        }
    }
    plans.sort_by_key(|plan| (plan.at, plan.person));
    plans
}

/// An instant of a month, on the days and in the hours when people work.
fn instant(month: Month, random: &mut Pcg64) -> Timestamp {
    let days: Vec<u32> = (1..=month.days()).map(|day| weight_of(Day::new(month, day))).collect();
    let day = u8::try_from(pick(&days, random)).unwrap_or(0) + 1;
    let hour = i64::try_from(pick(&HOURS, random)).unwrap_or(12);
    let start = Day::new(month, day).start();
    start.plus_seconds(hour * 3_600).plus_nanos(random.random_range(0..3_600_000_i128) * 1_000_000)
}

fn weight_of(day: Day) -> u32 {
    // The epoch's first day was a Thursday, the fourth from Monday.
    let days = day.start().seconds().div_euclid(86_400) + 3;
    let weekday = usize::try_from(days.rem_euclid(7)).unwrap_or(0);
    WEEKDAYS.get(weekday).copied().unwrap_or(0)
}

/// The place of a weight, drawn as often as it weighs.
fn pick(weights: &[u32], random: &mut Pcg64) -> usize {
    let mut left = random.random_range(0..weights.iter().sum());
    for (place, weight) in weights.iter().enumerate() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    0
}

/// Somebody to do something now: who does much is drawn often.
pub(super) fn somebody(people: &[Person], random: &mut Pcg64) -> usize {
    let weights: Vec<u32> = people.iter().map(|person| person.activity).collect();
    pick(&weights, random)
}

/// A made-up id of so many letters and digits.
pub(super) fn letters(random: &mut Pcg64, count: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    (0..count).filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())).copied()).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_people_do_the_same_each_time_and_less_on_sundays() {
        let month = Month::parse("2025-10").unwrap();
        let people = population(month.minus(MONTHS_BACK), SEED);
        assert_eq!(people.len(), 44);
        assert!(people.iter().all(|person| person.user_id.as_str() != READER));
        let plans = month_of(&people, month);
        let again = month_of(&population(month.minus(MONTHS_BACK), SEED), month);
        assert!(plans.iter().map(|p| (p.at, p.seed)).eq(again.iter().map(|p| (p.at, p.seed))));
        assert!(plans.iter().all(|plan| plan.at.month() == month));
        assert!(plans.is_sorted_by_key(|plan| plan.at));
        // 2025-10-01 was a Wednesday: the 8th, 15th, ... were too, and the 5th, 12th, ... were Sundays.
        let on = |days: [u8; 4]| plans.iter().filter(|p| days.contains(&p.at.day().day_of_month())).count();
        assert!(on([8, 15, 22, 29]) > 2 * on([5, 12, 19, 26]));
        assert!(plans.len() > 2_000, "{}", plans.len());
    }
}
