//! Pages that are bad on purpose: a good one with one thing changed, each for a check that must find it.

/// A page with nothing wrong.
pub const GOOD: &str = r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A page</title>
<style>
  body { font: 16px sans-serif; background: white; color: black; }
  a { color: #00e; }
  @media screen and (prefers-color-scheme: dark) { body { background: black; color: white; } a { color: #9cf; } }
  .wide { overflow-x: auto; }
  .broad { width: 60rem; }
  @page { size: A4; margin: 14mm 13mm; }
  @media print { .wide { overflow: visible; } .broad { width: auto; } }
</style>
</head>
<body>
<header><h1>A heading</h1></header>
<main>
  <p id="place">Something to read.</p>
  <p><a href="good.html">A page</a> <a href="good.html?why#place">A place in a page</a> <a href="#place">A place here</a></p>
  <details><summary>More</summary><p><a href="good.html">Again</a></p></details>
  <div class="wide" tabindex="0"><p class="broad">Something broad, whose end is out of sight in a narrow window until somebody scrolls there, by mouse or by keyboard.</p></div>
</main>
</body>
</html>
"##;

/// A mistake in a page.
pub struct Mistake {
    /// What it is, as the name of a file without its ending.
    pub name: &'static str,
    /// A piece of the good page,
    from: &'static str,
    /// and what stands in its place.
    to: &'static str,
    /// The check that must find it.
    pub check: &'static str,
    /// Something of what it says.
    pub found: &'static str,
}

impl Mistake {
    /// The page's file.
    pub fn file(&self) -> String {
        format!("{}.html", self.name)
    }

    /// The page.
    pub fn page(&self) -> String {
        assert!(GOOD.contains(self.from), "{} is not in the good page", self.from);
        GOOD.replacen(self.from, self.to, 1)
    }
}

const fn mistake(name: &'static str, [from, to]: [&'static str; 2], [check, found]: [&'static str; 2]) -> Mistake {
    Mistake {
        name,
        from,
        to,
        check,
        found,
    }
}

/// All of them.
pub const MISTAKES: [Mistake; 19] = [
    mistake(
        "script-error",
        ["</main>", "</main><script>nobody.knows.it()</script>"],
        ["console", "nobody is not defined"],
    ),
    mistake(
        "said-to-the-console",
        ["</main>", "</main><script>console.log('here')</script>"],
        ["console", "log: here"],
    ),
    mistake(
        "blocked-by-the-policy",
        [
            "</title>",
            "</title><meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\"><script>1</script>",
        ],
        ["console", "Content Security Policy"],
    ),
    mistake(
        "picture-from-elsewhere",
        [
            "</main>",
            "<img src='http://elsewhere.invalid/a.png' alt='A picture'></main>",
        ],
        ["request", "http://elsewhere.invalid/a.png"],
    ),
    mistake(
        "style-from-a-file",
        ["<style>", "<link rel='stylesheet' href='style.css'><style>"],
        ["request", "style.css"],
    ),
    mistake(
        "link-to-no-file",
        ["<a href=\"good.html\">A page", "<a href=\"god.html\">A page"],
        ["link", "god.html: there is no such file"],
    ),
    mistake(
        "link-to-no-place",
        ["href=\"#place\"", "href=\"#palace\""],
        ["link", "#palace: there is no such place"],
    ),
    mistake(
        "link-that-leads-out",
        [
            "<a href=\"good.html\">A page",
            "<a href=\"https://elsewhere.invalid/\">A page",
        ],
        ["link", "leads out"],
    ),
    mistake(
        "link-off-the-keyboard",
        [
            "<a href=\"good.html\">A page",
            "<a tabindex=\"-1\" href=\"good.html\">A page",
        ],
        ["keyboard", "not reached by the tab key"],
    ),
    mistake(
        "focus-unseen",
        ["</style>", "summary:focus { outline: none; }</style>"],
        ["focus", "summary"],
    ),
    mistake(
        "faint-in-light",
        [
            "</style>",
            "@media screen and (prefers-color-scheme: light) { h1 { color: #bbb; } }</style>",
        ],
        ["axe", "light: color-contrast"],
    ),
    mistake(
        "faint-in-dark",
        [
            "</style>",
            "@media screen and (prefers-color-scheme: dark) { h1 { color: #444; } }</style>",
        ],
        ["axe", "dark, 1280 px: color-contrast"],
    ),
    mistake(
        "faint-on-paper",
        ["</style>", "@media print { h1 { color: #bbb; } }</style>"],
        ["axe", "print, 1280 px: color-contrast"],
    ),
    mistake("no-landmark", ["<main>", "<div>"], ["axe", "landmark-one-main"]),
    mistake(
        "scrolls-by-mouse-alone",
        ["class=\"wide\" tabindex=\"0\"", "class=\"wide\""],
        ["axe", "light, 400 px: scrollable-region-focusable"],
    ),
    mistake(
        "broader-than-the-window",
        ["class=\"wide\" tabindex=\"0\"", "class=\"open\""],
        ["reflow", "at 400 px"],
    ),
    mistake(
        "no-heading-on-paper",
        [
            "</style>",
            "@media print { h1 { position: absolute; left: -9999px; } }</style>",
        ],
        ["print", "no heading"],
    ),
    mistake("not-a4", ["size: A4", "size: 210mm 210mm"], ["print", "not A4"]),
    mistake(
        "broader-than-the-paper",
        [".broad { width: auto; }", ""],
        ["print", "on A4"],
    ),
];
