//! What a machine may refuse: namespaces, space, images, a cache that is whole.

use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::support::{Ended, GONE_WITHIN, Parlour, alone, each_way};

/// Forbids user namespaces to whatever runs below, in one of its own.
const FORBIDDEN: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"",
];

fn refused(parlour: &Parlour, around: &[&str]) {
    let ended = Ended::of(&parlour.command(around).output().unwrap());
    ended.assert(
        4,
        &[
            "the kernel does not let this user make namespaces of its own",
            "/proc/sys/user/max_user_namespaces is 0: nobody may make user namespaces",
            "run nightmail as root",
            "`--engine docker`",
            "sysctl user.max_user_namespaces=",
        ],
    );
    parlour.assert_nothing_left(GONE_WITHIN);
}

#[test]
fn where_user_namespaces_are_forbidden_the_reason_is_said_and_the_ways_out() {
    each_way(|parlour| {
        let _alone = alone();
        refused(parlour, &FORBIDDEN);
    });
}

#[test]
fn root_without_the_right_to_namespaces_is_an_ordinary_user() {
    if !geteuid().is_root() {
        return;
    }
    let without = ["setpriv", "--bounding-set=-sys_admin", "--"];
    each_way(|parlour| {
        let _alone = alone();
        let ended = Ended::of(&parlour.command(&without).output().unwrap());
        ended.assert(0, &["judged: pass"]);
        refused(parlour, &[&without[..], &FORBIDDEN[..]].concat());
    });
}

/// Runs what follows twice with a cache that is a file system of its own: almost full at first, then no longer.
const SMALL_CACHE: &str = "mount -t tmpfs -o size=16m,mode=755 cache \"$NIGHTMAIL_CACHE\" || exit 99
head -c 15900000 /dev/zero > \"$NIGHTMAIL_CACHE/filler\" || exit 99
\"$0\" \"$@\"
echo \"the first: $?\"
rm \"$NIGHTMAIL_CACHE/filler\"
exec \"$0\" \"$@\"";

#[test]
fn a_cache_that_is_full_is_said_and_spoils_nothing() {
    each_way(|parlour| {
        let _alone = alone();
        std::fs::create_dir(parlour.cache()).unwrap();
        let mut around = vec!["unshare", "--mount"];
        // Root of a user namespace may mount there.
        if !may_mount(parlour) {
            around.extend(["--user", "--map-root-user"]);
        }
        around.extend(["sh", "-c", SMALL_CACHE]);
        let ended = Ended::of(&parlour.command(&around).output().unwrap());
        let (first, second) = ended
            .said
            .split_once("the first: 4")
            .unwrap_or_else(|| panic!("the first run did not end with 4:\n{}", ended.said));
        // What is said on standard output comes before what is said on standard error.
        let whole = format!("{first}{second}");
        assert!(whole.contains("image box could not be made"), "{whole}");
        assert!(
            whole.contains("No space left on device") || whole.contains("is full"),
            "{whole}"
        );
        ended.assert(0, &["judged: pass", &parlour.cache().display().to_string()]);
        parlour.assert_nothing_left(GONE_WITHIN);
    });
}

fn may_mount(parlour: &Parlour) -> bool {
    let mut tried = parlour.way.command(Path::new("unshare"));
    tried
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_spoilt_image_is_noticed_and_made_anew() {
    each_way(|parlour| {
        let _alone = alone();
        parlour.run().assert(0, &["image box made"]);
        parlour.run().assert(0, &["image box is there"]);
        let images = std::fs::read_dir(parlour.cache().join("images")).unwrap().flatten();
        let images: Vec<_> = images.map(|entry| entry.path()).collect();
        assert_eq!(images.len(), 1, "{images:?}");
        let program = images[0].join("root/bin/busybox");
        let whole = program.metadata().unwrap().len();
        let file = std::fs::File::options().write(true).open(&program).unwrap();
        file.set_len(whole / 2).unwrap();
        parlour.run().assert(
            0,
            &["was not whole", "it is made anew", "image box made", "judged: pass"],
        );
        assert_eq!(program.metadata().unwrap().len(), whole);
        parlour.run().assert(0, &["image box is there"]);
    });
}

#[test]
fn an_image_of_a_registry_is_refused_with_a_hint() {
    each_way(|parlour| {
        parlour.edit(
            "compose.yaml",
            "    image: box\n    command: [sh",
            "    image: alpine:3\n    command: [sh",
        );
        parlour.run().assert(
            2,
            &[
                "alpine:3",
                "an image of a registry, which the engine `local` cannot pull",
                "`--engine docker`",
                "x-nightmail",
            ],
        );
        parlour.assert_nothing_left(Duration::ZERO);
    });
}
