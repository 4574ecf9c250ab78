//! Day sums: what was used per day and combination of usage type, feature, provider and model. Month breakdowns, the
//! history's days and the forecast are sums of these. A store keeps the rows; what an operation adds to them is said here.

use crate::id::Name;
use crate::money::UsdSum;
use crate::operation::{Operation, UsageType};

/// What stands for every feature, provider or model beyond those that are kept apart.
pub const OTHER: &str = "(other)";
/// Combinations that one user's day keeps apart.
pub const COMBINATIONS_MAX: usize = 256;
/// Combinations that the day of all users keeps apart.
pub const COMBINATIONS_MAX_ALL_USERS: usize = 10_000;
/// Features, providers or models that a store keeps apart.
pub const NAMES_MAX: usize = 10_000;

/// One combination that sums are kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimensions {
    /// Which runs meter.
    pub usage_type: UsageType,
    /// What it was for.
    pub feature: Name,
    /// Who was called.
    pub provider: Name,
    /// Which model.
    pub model: Option<Name>,
}

/// Sums over operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// What they cost.
    pub cost: UsdSum,
    /// How many; reversals count none.
    pub operations: u64,
    /// Billable runs, less reversed ones.
    pub billable_runs: i64,
    /// Tokens, as far as they were reported.
    pub tokens: TokenSums,
}

/// Sums over reported tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenSums {
    /// Read by models.
    pub input: u64,
    /// Made by models.
    pub output: u64,
}

impl TokenSums {
    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { input: self.input.saturating_add(other.input), output: self.output.saturating_add(other.output) }
    }

    /// Of each the larger.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

impl Sums {
    /// What one operation adds.
    pub fn of(operation: &Operation) -> Self {
        let tokens = operation.tokens.unwrap_or_default();
        Self {
            cost: operation.cost.into(),
            operations: operation.operations(),
            billable_runs: operation.runs(),
            tokens: TokenSums { input: tokens.input, output: tokens.output },
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            cost: self.cost.and(other.cost),
            operations: self.operations.saturating_add(other.operations),
            billable_runs: self.billable_runs.saturating_add(other.billable_runs),
            tokens: self.tokens.and(&other.tokens),
        }
    }

    /// The mean cost of an operation; none over nothing.
    pub fn cost_per_operation(&self) -> Option<UsdSum> {
        self.cost.mean(self.operations)
    }

    /// The cost per billable run; none without runs.
    pub fn cost_per_run(&self) -> Option<UsdSum> {
        self.cost.mean(u64::try_from(self.billable_runs).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(picos: i128, operations: u64, billable_runs: i64) -> Sums {
        Sums { cost: UsdSum::from_picos(picos), operations, billable_runs, tokens: TokenSums::default() }
    }

    #[test]
    fn costs_per_operation_and_per_run_are_means_and_there_is_none_over_nothing() {
        let day = sums(10, 4, 3);
        assert_eq!(day.cost_per_operation(), Some(UsdSum::from_picos(2)));
        assert_eq!(day.cost_per_run(), Some(UsdSum::from_picos(3)));
        assert_eq!(sums(10, 0, 0).cost_per_operation(), None);
        // More runs were taken back than there were: as of a day that has only a reversal.
        assert_eq!(sums(-10, 0, -1).cost_per_run(), None);
    }

    #[test]
    fn sums_of_two_days_are_added_one_by_one() {
        let tokens = |input, output| TokenSums { input, output };
        let (one, other) =
            (Sums { tokens: tokens(3, 20), ..sums(10, 4, 3) }, Sums { tokens: tokens(5, 7), ..sums(-4, 1, -2) });
        assert_eq!(one.and(&other), Sums { tokens: tokens(8, 27), ..sums(6, 5, 1) });
        assert_eq!(tokens(3, 20).at_least(&tokens(5, 7)), tokens(5, 20));
    }
}
