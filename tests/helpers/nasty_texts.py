"""Names that some form of output would act on, break at, hide or hang on."""

TERMINAL = (
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "bell\x07",
    "back\x08",
    "nul\0byte",
    "\x7fdel",
    "\x85nel",
)
LINES = ("a\nb", "a\r\nb", "a\n\n# head", "tab\there", "\u2028line", "\u2029paragraph", "\n=1")
HIDDEN = (
    "\u202egnp.exe",
    "\u2066isolated\u2069",
    "\u200fright",
    "\u061cmark",
    "\ufeffbom",
    "zero\u200bwidth",
    "\u00adsoft",
)
RICH = ("[/x]", "[red]x[/red]", "[bold", "[link=http://a.example]x[/link]", ":smile:")
FORMULAS = (
    "=1+1",
    "-2+3",
    "+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    '=HYPERLINK("http://a.example")',
    "＝1",
    "－1",
)
NUMBERS = ("-0.5", "+1", "-1e-3", "-inf")
HTML = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></tr>",
    "<!-- c -->",
    "&lt;b&gt;",
    "&#60;i&#62;",
)
MARKDOWN = (
    *("a|b", "||", "\\", "\\|", "\\\\", "back\\", "`code`", "``", "**bold**", "*a*", "_a_", "__a__", "a_b_c", "~~s~~"),
    *(
        "[t](http://a.example)",
        "![i](http://a.example/y.png)",
        "[a][b]",
        "[a]: http://a.example",
        "# h",
        "- item",
        "1. x",
    ),
    *("http://a.example/x", "www.a.example", "<http://a.example>", "> q", "---", "* start", "+ start", "a * b * c"),
)
LATEX = (
    "&",
    "%",
    "#",
    "_",
    "{",
    "}",
    "~",
    "^",
    "\\input{x}",
    "\\end{tabular}",
    "% c",
    "[x] y",
    "--flag",
    "``q''",
    "{{ 7*7 }}",
)
FORMULA_SIGNS = ("$", "$$", "$x$", "cost $5 and $6", "a\\$b$c", "$\\frac$", "\\$")
LETTERS = (
    *("中文类别", "日本語", "한국어", "العربية", "עברית", "ไทย", "हिन्दी", "Ελλάδα", "Русский", "é ü ñ ß ø ł ç ő å"),
    *("emoji 😀", "👨\u200d👩\u200d👧", "∑ ≤ ∞ →", "a\u0301", "z\u0336a\u0336" * 30, "\ue000", "\U0010fffd", "\ufffe"),
)
HALVES = ("\ud800", "x\udfffy", "\udce9", "\ud83d")
LONG = ("x" * 20_000, "x" * 20_000 + "1", "中" * 20_000, "a, " * 5_000, "word " * 4_000, "\u0301" * 3_000)
ORDINARY = ("", " ", "  lead", "'", '"', "',;", "None", "nan", "1e5")

NASTY = (
    *(*TERMINAL, *LINES, *HIDDEN, *RICH, *FORMULAS, *NUMBERS, *HTML, *MARKDOWN, *LATEX, *FORMULA_SIGNS),
    *(*LETTERS, *HALVES, *LONG, *ORDINARY),
)
