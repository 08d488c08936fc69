//! Toxics together, and what becomes of what they hold when they change.

use super::*;
use crate::link::chain::{Affected, Toxic};
use crate::link::toxic::tests::{Run, applied, ms};
use crate::link::toxic::{Kind, blackhole::Blackhole, latency::Latency, limit_data::LimitData, reset_peer::ResetPeer};

fn latency(ms: i64) -> Kind {
    Kind::from(Latency {
        latency: ms,
        ..Latency::default()
    })
}

#[test]
fn toxics_act_in_order() {
    let mut run = Run::with(&[applied("a", latency(10)), applied("b", latency(20))]);
    run.send(b"x");
    assert_eq!(run.at(ms(29)).got(), b"");
    assert_eq!(run.at(ms(30)).got(), b"x");
}

#[test]
fn a_close_does_not_overtake_what_passed_before_it() {
    let limit = Kind::from(LimitData { bytes: 2 });
    let mut run = Run::with(&[applied("limit", limit), applied("late", latency(50))]);
    run.send(b"abc");
    assert!(!run.at(ms(49)).closed());
    assert_eq!((run.at(ms(50)).got(), run.closed()), (b"ab".to_vec(), true));
}

#[test]
fn what_a_toxic_held_goes_on_in_order_when_it_goes() {
    let (late, hole) = (applied("late", latency(100)), applied("hole", Kind::from(Blackhole {})));
    let mut run = Run::with(&[late.clone(), hole]);
    run.send(b"1");
    run.at(ms(100)).send(b"2");
    // The first has come as far as the hole, the second is still late.
    assert_eq!(run.apply(&[late]).got(), b"1");
    run.send(b"3");
    assert_eq!(run.removed().got(), b"123");
    run.send(b"4");
    assert_eq!(run.got(), b"1234");
}

#[test]
fn a_toxic_that_is_left_alone_goes_on_where_it_was() {
    let limit = applied("limit", Kind::from(LimitData { bytes: 3 }));
    let mut run = Run::with(std::slice::from_ref(&limit));
    run.send(b"ab");
    run.apply(&[limit.clone(), applied("late", latency(10))]);
    run.send(b"cd");
    assert_eq!((run.at(ms(20)).got(), run.closed()), (b"abc".to_vec(), true));
}

#[test]
fn a_changed_toxic_keeps_what_it_held() {
    let mut run = Run::with(&[applied("late", latency(1_000))]);
    run.send(b"x");
    run.at(ms(10));
    run.apply(&[applied("late", latency(20))]);
    assert_eq!(run.at(ms(19)).got(), b"");
    assert_eq!(run.at(ms(20)).got(), b"x");
}

fn reset_of(toxicity: f64, per: Per) -> Arc<Applied> {
    Arc::new(Applied {
        toxic: Toxic {
            name: "reset".to_owned(),
            kind: Kind::from(ResetPeer::default()),
            stream: Direction::Downstream,
            toxicity,
            per,
        },
        affected: Affected::default(),
    })
}

#[test]
fn toxicity_is_the_share_of_connections_or_of_requests() {
    let now = Instant::now();
    let met = |toxic: &Arc<Applied>, connections: u64, requests: u64| {
        let mut met = 0;
        for connection in 0..connections {
            let mut pipeline = Pipeline::new(Purpose::new(3).part(connection));
            pipeline.apply(std::slice::from_ref(toxic), Direction::Downstream, now);
            for request in 1..=requests {
                pipeline.push(Item::Data(Bytes::from_static(b"x")), request, now);
                pipeline.advance(now);
                if pipeline.pop() == Some(Item::Reset) {
                    met += 1;
                    break;
                }
            }
        }
        met
    };
    let by_connection = reset_of(0.01, Per::Connection);
    // Mean 100, standard deviation 10; many requests on a connection make no difference.
    let connections = met(&by_connection, 10_000, 3);
    assert!((50..=150).contains(&connections), "{connections}");
    assert_eq!(by_connection.affected.counts(), (connections, connections));
    // Of eight long connections nearly all are met before their thousandth request.
    assert_eq!(met(&reset_of(0.01, Per::Request), 8, 1_000), 8);
    assert_eq!(met(&reset_of(0.01, Per::Connection), 8, 1_000), 0);
}

#[test]
fn a_full_pipeline_has_no_room_and_gets_it_back() {
    let now = Instant::now();
    let mut pipeline = Pipeline::new(Purpose::new(1));
    pipeline.apply(&[applied("hole", Kind::from(Blackhole {}))], Direction::Downstream, now);
    while pipeline.has_room() {
        pipeline.push(Item::Data(Bytes::from(vec![0; 10_000])), 1, now);
    }
    pipeline.apply(&[], Direction::Downstream, now);
    assert!(!pipeline.is_idle());
    while pipeline.pop().is_some() {}
    assert!(pipeline.has_room() && pipeline.is_idle());
}

#[test]
fn the_other_direction_is_left_alone() {
    let now = Instant::now();
    let mut pipeline = Pipeline::new(Purpose::new(1));
    pipeline.apply(&[applied("hole", Kind::from(Blackhole {}))], Direction::Upstream, now);
    assert!(pipeline.is_idle());
}
