//! Who a program runs as: a text such as `999`, `www`, `www:staff` or `1000:1000`, read by the image's own files.

use std::fs;
use std::path::Path;

use super::PodError;

/// A user, a group, and where that user is at home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) home: String,
}

/// Finds the ids by `/etc/passwd` and `/etc/group` below `root`. As Docker does: a number need not be listed, and then
/// its group is root's; a name must be.
pub(super) fn find(text: Option<&str>, root: &Path) -> Result<Ids, PodError> {
    let text = text.unwrap_or("0");
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let passwd = lines(&root.join("etc/passwd"));
    let listed = passwd
        .iter()
        .find(|fields| fields.first().is_some_and(|name| name == user) || fields.get(2).is_some_and(|id| id == user));
    let number = |fields: &Vec<String>, at: usize| fields.get(at).and_then(|id| id.parse().ok());
    let home = listed.and_then(|fields| fields.get(5)).filter(|home| !home.is_empty());
    let home = home.map_or_else(|| "/".to_owned(), String::clone);
    let known = listed.and_then(|fields| Some((number(fields, 2)?, number(fields, 3)?)));
    let (user, own_group) = match (known, user.parse()) {
        (Some(found), _) => found,
        (None, Ok(number)) => (number, 0),
        (None, Err(_)) => {
            return Err(PodError::new(format!(
                "the image has no user `{user}` in its /etc/passwd"
            )));
        }
    };
    let group = match group {
        None => own_group,
        Some(group) => {
            let groups = lines(&root.join("etc/group"));
            let listed = groups
                .iter()
                .find(|fields| fields.first().is_some_and(|name| name == group));
            listed
                .and_then(|fields| number(fields, 2))
                .or_else(|| group.parse().ok())
                .ok_or_else(|| PodError::new(format!("the image has no group `{group}` in its /etc/group")))?
        }
    };
    Ok(Ids { user, group, home })
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number_as_docker_finds_them() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nwww:x:33:34:::/bin/sh\n",
        )
        .unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
        let ids = |text: Option<&str>| find(text, root.path()).map(|ids| (ids.user, ids.group));
        let home = |text| find(Some(text), root.path()).unwrap().home;
        assert_eq!(["0", "www", "999"].map(home), ["/root", "/", "/"]);
        assert_eq!(ids(None).unwrap(), (0, 0));
        assert_eq!(ids(Some("www")).unwrap(), (33, 34));
        assert_eq!(ids(Some("33")).unwrap(), (33, 34));
        assert_eq!(ids(Some("999")).unwrap(), (999, 0));
        assert_eq!(ids(Some("999:998")).unwrap(), (999, 998));
        assert_eq!(ids(Some("www:staff")).unwrap(), (33, 50));
        assert_eq!(
            ids(Some("nobody")).unwrap_err().to_string(),
            "the image has no user `nobody` in its /etc/passwd"
        );
        assert!(
            ids(Some("www:nobody"))
                .unwrap_err()
                .to_string()
                .contains("group `nobody`")
        );
    }
}
