//! Values of arguments.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_shard_is_one_of_those_that_there_are() {
    let shard = |text: &str| text.parse::<ShardChoice>();
    let second = shard("2/3").unwrap();
    assert_eq!((second.number, second.of.get()), (2, 3));
    assert_eq!(
        shard("4/3").unwrap_err(),
        "there is no shard 4 of 3; shards are 1/3 to 3/3"
    );
    for wrong in ["0/3", "3", "1/0", "a/b", "-1/2", ""] {
        assert!(shard(wrong).is_err(), "{wrong}");
    }
    assert_eq!(jobs("4"), Ok(4));
    for wrong in ["0", "65", "two", ""] {
        assert!(jobs(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_release_has_a_name_of_one_line() {
    assert_eq!(release(" v2.3 (abc123) "), Ok("v2.3 (abc123)".to_owned()));
    assert_eq!(release(""), Ok(String::new()));
    for wrong in ["a\nb", "\u{1b}[2J", &"x".repeat(101)] {
        assert!(release(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_age_has_a_unit() {
    assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
    assert_eq!(age("12h"), Ok(Duration::from_secs(12 * 3_600)));
    assert_eq!(age("2w"), Ok(Duration::from_secs(14 * 86_400)));
    for wrong in [
        "30",
        "d",
        "",
        "1.5d",
        "-1d",
        "30 days",
        "é",
        "99999999999999999999d",
        "999999999d",
    ] {
        assert!(age(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_value_may_hold_an_equals_sign() {
    assert_eq!(name_and_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    assert!(name_and_value("=b").is_err());
    assert!(name_and_value("ab").is_err());
}
