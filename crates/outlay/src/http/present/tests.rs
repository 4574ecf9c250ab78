//! The words beside the figures.

use super::*;

#[test]
fn few_runs_left_are_said_in_the_words_of_the_label() {
    assert_eq!(runs_left(3, "AI Operations"), "Only 3 AI operations left");
    assert_eq!(runs_left(1, "API Operations"), "Only 1 API operation left");
    assert_eq!(runs_left(0, "Scans"), "No scans left");
}
