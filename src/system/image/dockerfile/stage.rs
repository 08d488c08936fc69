//! One stage while it is made: what its instructions do to its tree and its settings.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lines::{Line, Source, error};
use super::words;
use crate::diagnostic::Diagnostic;
use crate::system::image::{ImageError, Inside, Settings, Within, tree};

/// Build arguments that count without being declared.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Where programs are looked for by an image that does not say it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables within a stage, or before the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// What the Compose file gives.
    pub(super) given: BTreeMap<String, String>,
    /// Defaults that were declared before the first stage.
    pub(super) global: BTreeMap<String, String>,
    /// What is declared here.
    pub(super) declared: BTreeMap<String, String>,
}

impl Scope {
    /// Variables before the first stage.
    pub(super) fn new(given: &BTreeMap<String, String>) -> Self {
        Self {
            given: given.clone(),
            ..Self::default()
        }
    }

    /// Variables of a stage: only what is declared within counts.
    pub(super) fn of_stage(given: &BTreeMap<String, String>, global: &BTreeMap<String, String>) -> Self {
        Self {
            given: given.clone(),
            global: global.clone(),
            declared: BTreeMap::new(),
        }
    }

    /// `ARG name`, `ARG name=default`, or several.
    pub(super) fn declare(
        &mut self,
        text: &str,
        escape: char,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let words = words::split(text, escape);
        if words.is_empty() {
            return Err("ARG names no argument".to_owned());
        }
        for word in words {
            let (name, default) = match word.split_once('=') {
                Some((name, default)) => {
                    let value = words::expand(default, escape, &|name| self.value(environment, name))?;
                    (name, Some(value))
                }
                None => (word.as_str(), None),
            };
            let given = self.given.get(name).cloned();
            let value = given.or(default).or_else(|| self.global.get(name).cloned());
            if let Some(value) = value.or_else(|| platform(name)) {
                self.declared.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// The environment decides before an argument.
    pub(super) fn value(&self, environment: &BTreeMap<String, String>, name: &str) -> Option<String> {
        let predefined = || PREDEFINED.contains(&name).then(|| self.given.get(name)).flatten();
        let found = environment.get(name).or_else(|| self.declared.get(name));
        found.or_else(predefined).cloned()
    }
}

/// What the builder itself says of where it builds and for what.
pub(super) fn platform(name: &str) -> Option<String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match name {
        "TARGETOS" | "BUILDOS" => Some("linux".to_owned()),
        "TARGETARCH" | "BUILDARCH" => Some(arch.to_owned()),
        "TARGETPLATFORM" | "BUILDPLATFORM" => Some(format!("linux/{arch}")),
        _ => None,
    }
}

/// A stage while it is made.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) source: &'a Source,
    pub(super) root: PathBuf,
    pub(super) settings: Settings,
    pub(super) scope: Scope,
    shell: Vec<String>,
    has_own_command: bool,
}

impl<'a> Stage<'a> {
    /// A stage with nothing in it.
    pub(super) fn new(source: &'a Source, root: PathBuf, scope: Scope) -> Self {
        Self {
            source,
            root,
            settings: Settings::default(),
            scope,
            shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            has_own_command: false,
        }
    }

    /// Takes over how an earlier stage runs.
    pub(super) fn inherit(&mut self, earlier: &Self) {
        self.settings = earlier.settings.clone();
        self.shell = earlier.shell.clone();
    }

    /// An instruction other than those that copy.
    pub(super) fn perform(&mut self, line: &Line, within: &dyn Within) -> Result<(), ImageError> {
        let wrong = |message: String| error(&self.source.wrong(line, message));
        match line.keyword.as_str() {
            "ARG" => {
                let declared = self
                    .scope
                    .declare(&line.rest, self.source.escape, &self.settings.environment);
                return declared.map_err(wrong);
            }
            "ENV" => {
                let pairs = self.pairs(&line.rest).map_err(wrong)?;
                self.settings.environment.extend(pairs);
            }
            "RUN" => return self.run(line, within),
            "WORKDIR" => return self.working_dir(line),
            "USER" => self.settings.user = Some(self.one(line)?),
            "STOPSIGNAL" => self.settings.stop_signal = Some(self.one(line)?),
            "VOLUME" => {
                let volumes = self.list(line)?;
                for volume in volumes {
                    if !self.settings.volumes.contains(&volume) {
                        self.settings.volumes.push(volume);
                    }
                }
            }
            "CMD" => {
                self.settings.command = self.command(&line.rest);
                self.has_own_command = true;
            }
            "ENTRYPOINT" => {
                self.settings.entrypoint = self.command(&line.rest);
                // A command that was meant for the base's entrypoint is no argument of another.
                if !self.has_own_command {
                    self.settings.command.clear();
                }
            }
            "SHELL" => {
                let shell = words::json(&line.rest).filter(|words| !words.is_empty());
                self.shell =
                    shell.ok_or_else(|| wrong("SHELL takes a list such as [\"/bin/sh\", \"-c\"]".to_owned()))?;
            }
            // Nothing that is run here looks at them.
            "EXPOSE" | "LABEL" | "MAINTAINER" | "HEALTHCHECK" => {}
            _ => return Err(self.unknown(line)),
        }
        Ok(())
    }

    fn unknown(&self, line: &Line) -> ImageError {
        const KNOWN: [&str; 17] = [
            "FROM",
            "ARG",
            "ENV",
            "COPY",
            "ADD",
            "RUN",
            "WORKDIR",
            "USER",
            "CMD",
            "ENTRYPOINT",
            "SHELL",
            "EXPOSE",
            "LABEL",
            "VOLUME",
            "STOPSIGNAL",
            "HEALTHCHECK",
            "MAINTAINER",
        ];
        if line.keyword == "ONBUILD" {
            let wrong = self.source.wrong(line, "ONBUILD is not supported without Docker");
            return error(&wrong.hint("write the instruction into the Dockerfile that builds on this one"));
        }
        let mut wrong = self
            .source
            .wrong(line, format!("`{}` is not an instruction", line.keyword));
        wrong = wrong.allowed(KNOWN.join(", "));
        if let Some(meant) = crate::diagnostic::did_you_mean(&line.keyword, KNOWN) {
            wrong = wrong.hint(format!("did you mean {meant}?"));
        }
        error(&wrong)
    }

    /// A word with its variables filled in.
    pub(super) fn expand(&self, line: &Line, word: &str) -> Result<String, ImageError> {
        self.filled_in(word)
            .map_err(|said| error(&self.source.wrong(line, said)))
    }

    fn filled_in(&self, word: &str) -> Result<String, String> {
        let lookup = |name: &str| self.scope.value(&self.settings.environment, name);
        words::expand(word, self.source.escape, &lookup)
    }

    /// The one argument of an instruction.
    fn one(&self, line: &Line) -> Result<String, ImageError> {
        let text = self.expand(line, &line.rest)?;
        if text.trim().is_empty() {
            let wrong = self.source.wrong(line, format!("{} needs an argument", line.keyword));
            return Err(error(&wrong));
        }
        Ok(text.trim().to_owned())
    }

    fn list(&self, line: &Line) -> Result<Vec<String>, ImageError> {
        let words = words::json(&line.rest).unwrap_or_else(|| words::split(&line.rest, self.source.escape));
        words.iter().map(|word| self.expand(line, word)).collect()
    }

    /// `a=b c="d e"`, or `a b c` of which the first word is a name and the rest its value. Values see the environment as
    /// it was before the instruction.
    fn pairs(&self, text: &str) -> Result<Vec<(String, String)>, String> {
        let words = words::split(text, self.source.escape);
        let first = words.first().ok_or("ENV names no variable")?;
        if !first.contains('=') {
            let value = text[first.len()..].trim();
            if value.is_empty() {
                return Err(format!("ENV gives `{first}` no value; write `ENV {first}=value`"));
            }
            return Ok(vec![(self.filled_in(first)?, self.filled_in(value)?)]);
        }
        let mut pairs = Vec::new();
        for word in &words {
            let (name, value) = word
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("`{word}` is not of the form name=value"))?;
            pairs.push((self.filled_in(name)?, self.filled_in(value)?));
        }
        Ok(pairs)
    }

    /// A list of words as it is, and anything else as an argument of the shell.
    fn command(&self, text: &str) -> Vec<String> {
        words::json(text).unwrap_or_else(|| {
            let mut words = self.shell.clone();
            words.push(text.to_owned());
            words
        })
    }

    fn run(&self, line: &Line, within: &dyn Within) -> Result<(), ImageError> {
        if let Some(flag) = line
            .rest
            .split_whitespace()
            .next()
            .filter(|word| word.starts_with("--"))
        {
            let wrong = self.source.wrong(line, format!("RUN {flag} is not supported"));
            return Err(error(&wrong.hint(
                "leave it out: every RUN sees the tree as it is, and the host's network or none",
            )));
        }
        no_heredoc(self.source, line)?;
        if line.rest.is_empty() {
            return Err(error(&self.source.wrong(line, "RUN names no command")));
        }
        let words = self.command(&line.rest);
        let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        let given = self.scope.given.iter();
        environment.extend(
            given
                .filter(|(name, _)| PREDEFINED.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        environment.extend(self.scope.declared.clone());
        environment.extend(self.settings.environment.clone());
        let command = Inside {
            words: &words,
            environment: &environment,
            user: self.settings.user.as_deref(),
            working_dir: self.settings.working_dir.as_deref(),
        };
        within.run(&self.root, &command).map_err(|failed| {
            let wrong = self.source.wrong(line, failed.reason);
            ImageError {
                log: failed.log,
                ..error(&wrong)
            }
        })
    }

    fn working_dir(&mut self, line: &Line) -> Result<(), ImageError> {
        let path = self.absolute(&self.one(line)?);
        self.refused(line, tree::make_folders(&self.root, &path, 0o755))?;
        self.settings.working_dir = Some(path.display().to_string());
        Ok(())
    }

    /// A path within the image: one that does not begin with `/` is taken from the working directory.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let dir = self.settings.working_dir.as_deref().unwrap_or("/");
        let joined = Path::new("/").join(dir).join(path);
        let mut clean = PathBuf::from("/");
        for component in joined.components() {
            match component {
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                std::path::Component::Normal(name) => clean.push(name),
                _ => {}
            }
        }
        clean
    }

    /// Says where a failure within the tree was asked for.
    pub(super) fn refused<T>(&self, line: &Line, done: std::io::Result<T>) -> Result<T, ImageError> {
        done.map_err(|failed| error(&self.source.wrong(line, format!("{}: {failed}", line.keyword))))
    }

    /// The numbers of `user`, or of `user:group`, by the image's own list of users; a user without a group takes the
    /// group of the same number as Docker does for a number, and the user's own for a name.
    pub(super) fn owner(&self, line: &Line, text: &str) -> Result<(u32, u32), ImageError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let (uid, gid) = match user.parse() {
            Ok(id) => (id, id),
            Err(_) => {
                let fields = self.listed(line, "etc/passwd", user)?;
                (number(&fields, 2), number(&fields, 3))
            }
        };
        let gid = match group.parse() {
            _ if group.is_empty() => gid,
            Ok(id) => id,
            Err(_) => number(&self.listed(line, "etc/group", group)?, 2),
        };
        Ok((uid, gid))
    }

    fn listed(&self, line: &Line, file: &str, name: &str) -> Result<Vec<String>, ImageError> {
        let path = self.refused(line, tree::resolve(&self.root, Path::new(file)))?;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let entries = text
            .lines()
            .map(|entry| entry.split(':').map(str::to_owned).collect::<Vec<_>>());
        let mut entries = entries.filter(|fields| fields.len() > 3);
        entries
            .find(|fields| fields[0] == name)
            .ok_or_else(|| error(&self.source.wrong(line, format!("/{file} of the image has no `{name}`"))))
    }

    /// Whether there is a folder at this path.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        tree::resolve(&self.root, path).is_ok_and(|at| at.metadata().is_ok_and(|meta| meta.is_dir()))
    }
}

fn number(fields: &[String], at: usize) -> u32 {
    fields.get(at).and_then(|field| field.parse().ok()).unwrap_or_default()
}

/// Refuses a text that goes on below the instruction.
pub(super) fn no_heredoc(source: &Source, line: &Line) -> Result<(), ImageError> {
    let begins = |word: &str| {
        let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let word = word
            .strip_prefix("<<")
            .map(|word| word.trim_start_matches(['-', '"', '\'']));
        word.is_some_and(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    };
    if words::json(&line.rest).is_none() && line.rest.split_whitespace().any(begins) {
        let wrong: Diagnostic = source.wrong(
            line,
            format!("a heredoc (`<<`) after {} is not supported", line.keyword),
        );
        return Err(error(
            &wrong.hint("put the text into a file of the context, and COPY it"),
        ));
    }
    Ok(())
}

/// The mode that a file of the context gets, whatever the host's umask made of it: what Docker's builder is sent.
pub(super) fn plain_mode(meta: &std::fs::Metadata) -> u32 {
    if meta.is_dir() || meta.mode() & 0o100 != 0 {
        0o755
    } else {
        0o644
    }
}
