//! The time axis of the live lines: which column is which time.

use crate::report::text::trim;

/// Length of the axis where no plan says how long the load is to last.
const UNPLANNED_US: i64 = 30_000_000;
/// Columns from one mark to the next, at least.
const MARKS_APART: usize = 10;

/// From the start of the load to its planned end, or further if it lasts longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    end_us: i64,
    columns: usize,
}

impl Axis {
    /// For a load that is to last so long and has come so far. Where it lasts longer than planned, the axis grows an eighth at a time,
    /// so that not every frame has another scale.
    pub fn new(planned_us: i64, now_us: i64, columns: usize) -> Self {
        let planned_us = if planned_us > 0 { planned_us } else { UNPLANNED_US };
        let eighth_us = (planned_us / 8).max(1);
        let over_us = (now_us - planned_us).max(0);
        let eighths = (over_us + eighth_us - 1) / eighth_us;
        Self {
            end_us: planned_us + eighths * eighth_us,
            columns: columns.max(1),
        }
    }

    /// The time of each column, from and to.
    pub fn spans_us(self) -> impl Iterator<Item = (i64, i64)> {
        let start_us = move |column: usize| (self.end_us as i128 * column as i128 / self.columns as i128) as i64;
        (0..self.columns).map(move |column| (start_us(column), start_us(column + 1)))
    }

    /// The column of a time: the first or the last for what lies beyond.
    pub fn column(self, at_us: i64) -> usize {
        let column = (at_us.max(0) as i128 * self.columns as i128 / i128::from(self.end_us)) as usize;
        column.min(self.columns - 1)
    }

    /// Round times along the axis: `0 s`, `10 s`, `20 s`, each where it belongs, as far apart as can be read.
    pub fn marks(self) -> String {
        const STEPS_S: [i64; 16] = [
            1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400,
        ];
        let step_us = STEPS_S
            .into_iter()
            .map(|step_s| step_s * 1_000_000)
            .find(|&step_us| self.column(step_us) >= MARKS_APART.min(self.columns - 1).max(1))
            .unwrap_or(self.end_us);
        let mut line = String::new();
        for at_us in (0..)
            .map(|index| index * step_us)
            .take_while(|&at_us| at_us < self.end_us)
        {
            let mark = mark(at_us);
            let column = self.column(at_us);
            if column + mark.chars().count() > self.columns || (column > 0 && column <= line.chars().count()) {
                continue;
            }
            line.push_str(&" ".repeat(column - line.chars().count()));
            line.push_str(&mark);
        }
        line
    }
}

/// A time in seconds, or in minutes where it is long.
fn mark(at_us: i64) -> String {
    let seconds = at_us as f64 / 1e6;
    match seconds >= 600.0 {
        true => format!("{} min", trim(seconds / 60.0, 1)),
        false => format!("{} s", trim(seconds, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_apart() {
        let marks = |planned_s: i64, columns| Axis::new(planned_s * 1_000_000, 0, columns).marks();
        assert_eq!(marks(32, 50), "0 s            10 s            20 s           30 s");
        assert_eq!(marks(32, 12), "0 s");
        assert_eq!(marks(3, 24), "0 s             2 s");
        assert_eq!(marks(7_200, 48), "0 s         30 min      60 min      90 min");
        for columns in 1..200 {
            for planned_s in [1, 7, 32, 600, 86_400] {
                assert!(
                    marks(planned_s, columns).chars().count() <= columns,
                    "{planned_s} s on {columns}"
                );
            }
        }
    }

    #[test]
    fn the_axis_reaches_as_far_as_the_load() {
        let axis = Axis::new(32_000_000, 33_000_000, 36);
        assert_eq!(axis.end_us, 36_000_000);
        assert_eq!(
            [-5, 0, 1_000_000, 35_999_999, 90_000_000].map(|at_us| axis.column(at_us)),
            [0, 0, 1, 35, 35]
        );
        let spans: Vec<_> = axis.spans_us().collect();
        assert_eq!((spans[0], spans[35]), ((0, 1_000_000), (35_000_000, 36_000_000)));
        assert_eq!(
            Axis::new(0, 0, 0).spans_us().count(),
            1,
            "of no room one column is made"
        );
    }
}
