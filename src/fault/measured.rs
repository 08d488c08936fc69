//! From what was measured of each part of a fault to the receipt of the whole.

use std::time::Duration;

use super::Receipt;
use crate::plan::ReplicaId;

/// What was measured of one replica or one path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// From the command to the first measurement that showed what it should; absent if none did.
    pub onset: Option<Duration>,
    /// What was seen, a line each.
    pub evidence: Vec<String>,
}

impl Measured {
    /// What one line says.
    pub(super) fn new(onset: Option<Duration>, line: String) -> Self {
        Self {
            onset,
            evidence: vec![line],
        }
    }
}

/// The whole is confirmed when every part is, and as late as its last part.
pub(super) fn receipt(replicas: &[ReplicaId], parts: Vec<Measured>) -> Receipt {
    let onsets: Option<Vec<Duration>> = parts.iter().map(|part| part.onset).collect();
    let onset = onsets.and_then(|onsets| onsets.into_iter().max());
    Receipt {
        confirmed: onset.is_some(),
        onset_us: onset.map(|onset| onset.as_micros().try_into().unwrap_or(u64::MAX)),
        replicas: replicas.iter().map(ToString::to_string).collect(),
        lapsed: false,
        failed: None,
        evidence: parts.into_iter().flat_map(|part| part.evidence).collect(),
        takeover: None,
    }
}

/// The receipt for healing a fault that never acted on anybody.
pub(super) fn nothing_to_heal() -> Receipt {
    Receipt {
        confirmed: true,
        onset_us: None,
        replicas: Vec::new(),
        lapsed: false,
        failed: None,
        evidence: vec!["nothing to heal: the fault had not acted on anybody".to_owned()],
        takeover: None,
    }
}

/// ` (12.3 ms after the command)`, or nothing.
pub(super) fn after(onset: Option<Duration>) -> String {
    onset.map_or_else(String::new, |onset| format!(" ({} after the command)", ms(onset)))
}

/// `12.3 ms`.
pub(super) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(onset_ms: Option<u64>) -> Measured {
        Measured::new(onset_ms.map(Duration::from_millis), format!("{onset_ms:?}"))
    }

    #[test]
    fn one_part_unseen_leaves_the_whole_unconfirmed() {
        let whole = receipt(&[], vec![part(Some(3)), part(None)]);
        assert!(!whole.confirmed);
        assert_eq!(whole.onset_us, None);
        assert_eq!(whole.evidence.len(), 2);
    }

    #[test]
    fn the_whole_is_as_late_as_its_last_part() {
        let whole = receipt(&[], vec![part(Some(3)), part(Some(8)), part(Some(5))]);
        assert!(whole.confirmed);
        assert_eq!(whole.onset_us, Some(8_000));
    }

    #[test]
    fn nothing_measured_is_not_confirmed() {
        assert!(!receipt(&[], Vec::new()).confirmed);
    }
}
