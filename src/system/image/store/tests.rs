//! The store in a folder of its own, with a double for whatever runs commands.

use std::sync::Mutex;

use super::*;

/// Writes down what it is asked to run, and does it by `act`.
struct Double<F> {
    ran: Mutex<Vec<String>>,
    act: F,
}

impl<F: Fn(&Path) -> Result<(), ImageError> + Send + Sync> Within for Double<F> {
    fn run(&self, root: &Path, command: &Inside<'_>) -> Result<(), ImageError> {
        let said = format!("{:?} as {:?}", command.words, command.user);
        self.ran.lock().unwrap().push(said);
        (self.act)(root)
    }
}

fn double<F: Fn(&Path) -> Result<(), ImageError>>(act: F) -> Double<F> {
    let ran = Mutex::default();
    Double { ran, act }
}

fn image() -> Image {
    let mut image = Image {
        finish: Some(vec!["/init".to_owned()]),
        ..Image::default()
    };
    image.settings.user = super::super::user();
    image.rootfs.text("/etc/name", "first", 0o644);
    image.rootfs.folder("/data", 0o700, 999);
    image
}

/// References of their own, since locks are shared by everything on this machine.
fn reference(dir: &Path, hash: &str) -> String {
    let unique = dir.file_name().unwrap().to_string_lossy().replace('.', "");
    format!("nightmail/test-{unique}:{hash}")
}

#[test]
fn an_image_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "aaaaaaaaaaaa"));
    let within =
        double(|root: &Path| std::fs::write(root.join("data/made"), "x").map_err(|error| ImageError::io(root, &error)));
    assert!(store.find(&reference).unwrap().stored.is_none());
    let made = store
        .make("test", &reference, &image(), &within)
        .unwrap()
        .stored
        .unwrap();
    assert_eq!(made.settings, image().settings);
    assert!(made.root.join("data/made").is_file());
    let again = store.make("test", &reference, &image(), &within).unwrap();
    assert_eq!((again.stored.as_ref(), again.notice), (Some(&made), None));
    assert_eq!(store.find(&reference).unwrap().stored, Some(made));
    assert_eq!(*within.ran.lock().unwrap(), ["[\"/init\"] as Some(\"999:999\")"]);
}

#[test]
fn runs_at_the_same_time_make_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "ffffffffffff"));
    let (image, within) = (image(), double(|_: &Path| Ok(())));
    let made: Vec<Stored> = std::thread::scope(|scope| {
        let make = || store.make("test", &reference, &image, &within).unwrap().stored.unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|stored| *stored == made[0]));
    assert_eq!(within.ran.lock().unwrap().len(), 1);
}

#[test]
fn an_image_that_is_not_whole_is_made_anew_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "bbbbbbbbbbbb"));
    let within = double(|_: &Path| Ok(()));
    let make = || store.make("test", &reference, &image(), &within).unwrap();
    let entry = make().stored.unwrap().root.parent().unwrap().to_owned();
    let spoils: [&dyn Fn(); 4] = [
        &|| std::fs::write(entry.join("root/etc/name"), "fir").unwrap(),
        &|| std::fs::remove_file(entry.join("root/etc/name")).unwrap(),
        &|| std::fs::remove_file(entry.join("image.json")).unwrap(),
        &|| std::fs::write(entry.join("image.json"), "{\"name\": ").unwrap(),
    ];
    for (at, spoil) in spoils.iter().enumerate() {
        spoil();
        let found = store.find(&reference).unwrap();
        assert!(found.stored.is_none(), "{at}");
        assert!(found.notice.unwrap().contains("not whole"), "{at}");
        assert_eq!(make().notice, None, "{at}");
        assert_eq!(std::fs::read(entry.join("root/etc/name")).unwrap(), b"first", "{at}");
    }
}

#[test]
fn a_failure_leaves_nothing_and_a_leftover_of_a_kill_is_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "cccccccccccc"));
    let failing = double(|_: &Path| Err(ImageError::new("`/init` failed (1)")));
    let error = store.make("test", &reference, &image(), &failing).unwrap_err();
    assert_eq!(error.reason, "`/init` failed (1)");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let partial = store.entry(&reference).with_extension(PARTIAL);
    std::fs::create_dir_all(partial.join("root/left")).unwrap();
    let made = store
        .make("test", &reference, &image(), &double(|_: &Path| Ok(())))
        .unwrap();
    assert!(!made.stored.unwrap().root.join("left").exists());
}

#[test]
fn a_full_disk_is_named_with_the_ways_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "dddddddddddd"));
    let full = double(|_: &Path| {
        let path = Path::new("/dev/full");
        std::fs::write(path, "x").map_err(|error| ImageError::io(path, &error))
    });
    let reason = store.make("test", &reference, &image(), &full).unwrap_err().reason;
    let dir_name = dir.path().display().to_string();
    for part in [&dir_name, "MiB free", "NIGHTMAIL_CACHE", "nightmail gc --images"] {
        assert!(reason.contains(part), "{part} is not in: {reason}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_base_of_a_registry_is_refused_with_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let (store, reference) = (Store::at(dir.path()), reference(dir.path(), "eeeeeeeeeeee"));
    let image = Image {
        base: Some("postgres:15".to_owned()),
        base_because: Some(ImageError::new("there is none\n  hint: `apt-get install it`")),
        ..Image::default()
    };
    let error = store
        .make("test", &reference, &image, &double(|_: &Path| Ok(())))
        .unwrap_err();
    assert_eq!(
        error.reason,
        "there is none\n  hint: `apt-get install it`, or `--engine docker`"
    );
}

#[test]
fn clearing_up_removes_what_was_replaced_and_what_was_left_over_unless_the_store_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let references = ["111111111111", "222222222222", "333333333333"].map(|hash| reference(dir.path(), hash));
    let mut manifests = Vec::new();
    for reference in &references {
        let made = store
            .make("test", reference, &image(), &double(|_: &Path| Ok(())))
            .unwrap();
        manifests.push(made.stored.unwrap().root.with_file_name(MANIFEST));
    }
    for (at, manifest) in manifests.iter().enumerate() {
        let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000 + at as u64);
        std::fs::File::options()
            .write(true)
            .open(manifest)
            .unwrap()
            .set_modified(made)
            .unwrap();
    }
    let being_made = store
        .entry(&reference(dir.path(), "444444444444"))
        .with_extension(PARTIAL);
    let left = store
        .entry(&reference(dir.path(), "555555555555"))
        .with_extension(PARTIAL);
    std::fs::create_dir(&being_made).unwrap();
    std::fs::create_dir(&left).unwrap();
    let keep = BTreeSet::from([references[0].clone()]);

    let held = store.hold().unwrap();
    assert!(store.prune(&keep).unwrap().spared.is_some());
    assert_eq!(store.list().unwrap().len(), 3);
    drop(held);
    let _lock = making_lock(&reference(dir.path(), "444444444444")).unwrap();
    let pruned = store.prune(&keep).unwrap();
    assert_eq!(pruned.removed, [references[1].clone()]);
    assert_eq!(pruned.leftovers, Vec::<String>::new());
    assert!(being_made.exists() && !left.exists());
    let kept: Vec<String> = store.list().unwrap().into_iter().map(|image| image.reference).collect();
    assert_eq!(kept, [references[0].clone(), references[2].clone()]);
}
