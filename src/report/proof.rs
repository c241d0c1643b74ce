//! How much a run proves, in words.

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

/// That a share of leaking connections was asked for, and only a larger one would have shown.
pub(super) fn less_proved(found: f64, asked: f64) -> String {
    format!(
        "only a leak of {} of the connections would have shown with 95 %, and --confidence asks for {}",
        percent(found),
        percent(asked)
    )
}
