//! `blackhole`: nothing passes a link. What comes meanwhile is kept and comes when the fault heals, and no connection is closed by it.

use super::link::{LinkFault, OnLink, link_fault};
use super::sign::{Shows, Sign};
use crate::link::toxic::{Kind, blackhole};
use crate::plan::Target;

link_fault! {
    /// Parameters of `blackhole`.
    Blackhole {
    }
}

impl LinkFault for Blackhole<Target> {
    fn on(&self) -> OnLink<'_, Target> {
        self.link()
    }

    fn toxic(&self) -> Option<Kind> {
        Some(Kind::Blackhole(blackhole::Blackhole {}))
    }

    fn sign(&self) -> Sign {
        Sign::of(Shows::Silent)
    }

    fn words(&self) -> String {
        "hold everything back".to_owned()
    }
}
