//! How much a run proves, in words.

use crate::verdict::LessProved;

/// A share, from 0 to 1, with two digits that count.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// Says that only a larger share of leaking connections would have shown than `--confidence` asks for.
pub(super) fn less_proved(LessProved { found, asked }: LessProved) -> String {
    format!(
        "only a leak of {} of the connections would have shown with 95 %, and --confidence asks for {}",
        percent(found),
        percent(asked)
    )
}
