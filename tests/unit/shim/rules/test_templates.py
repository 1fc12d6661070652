# ruff: noqa: E501 - a case is a line
"""Labels and annotations of alerts: each text is the one that `promtool test rules` 2.42 has."""

from __future__ import annotations

from typing import Final

import pytest

from shim.rules.templates.alert_template import AlertValues, alert_template, expanded
from shim.rules.templates.template_functions import TemplateSample
from shim.rules.templates.template_lexer import TemplateError

LABELS: Final = {"instance": "web-1.example.com:9100", "job": "api", "le": "0.5"}
VALUE: Final = 1234567.891
OTHER: Final = [
    TemplateSample({"__name__": "other", "zone": "b", "n": "2"}, 2.0),
    TemplateSample({"__name__": "other", "zone": "a", "n": "10"}, 1.5),
]
CASES: Final = [
    ("{{ $value }}", "1.234567891e+06"),
    ("{{ .Value }} {{ .Labels.job }} {{ $labels.nothing }}|", "1.234567891e+06 api |"),
    ("{{ $labels }}", "map[__name__:x instance:web-1.example.com:9100 job:api le:0.5]"),
    ("{{ $externalLabels.cluster }} {{ .ExternalLabels }}", "c1 map[cluster:c1]"),
    ("{{ humanize $value }}", "1.235M"),
    ("{{ $value | humanize }}", "1.235M"),
    ('{{ $value | humanize1024 }} {{ humanize1024 "1048576" }} {{ humanize1024 0.5 }}', "1.177Mi 1Mi 0.5"),
    (
        '{{ humanize 0.00123 }} {{ humanize 0.0 }} {{ humanize -1500.0 }} {{ humanize "1e30" }} {{ humanize 999.96 }} {{ humanize 1e-30 }}',
        "1.23m 0 -1.5k 1e+06Y 1000 1e-06y",
    ),
    (
        '{{ humanizeDuration 0 }} {{ humanizeDuration 0.02 }} {{ humanizeDuration 1.5 }} {{ humanizeDuration 60 }} {{ humanizeDuration 3661.4 }} {{ humanizeDuration 90061 }} {{ humanizeDuration -61 }} {{ humanizeDuration "inf" }}',
        "0s 20ms 1.5s 1m 0s 1h 1m 1s 1d 1h 1m 1s -1m 1s +Inf",
    ),
    (
        "{{ humanizePercentage 0.12345 }} {{ humanizePercentage 1 }} {{ humanizePercentage 0.000001 }}",
        "12.35% 100% 0.0001%",
    ),
    (
        "{{ humanizeTimestamp 1435065584.128 }} {{ humanizeTimestamp 0 }}",
        "2015-06-23 13:19:44.128 +0000 UTC 1970-01-01 00:00:00 +0000 UTC",
    ),
    (
        '{{ printf "%.2f" $value }} {{ printf "%d" 5 }} {{ printf "%d" $value }} {{ printf "%s" $value }} {{ printf "%q" "a\\"b" }}',
        '1234567.89 5 %!d(float64=1.234567891e+06) %!s(float64=1.234567891e+06) "a\\"b"',
    ),
    (
        '{{ printf "%5.1f|%-8s|%08.3f|%+d|% d|%x|%X|%o|%b|%c|%t|%v|%%" 3.14159 "ab" 3.14159 5 5 255 255 8 5 65 true 1.5 }}',
        "  3.1|ab      |0003.142|+5| 5|ff|FF|10|101|A|true|1.5|%",
    ),
    (
        '{{ printf "%e %E %g %G %.3g %.10g %10.3e" 1234567.0 1234567.0 1234567.0 1e20 1234567.0 1234567.891 1234567.0 }}',
        "1.234567e+06 1.234567E+06 1.234567e+06 1E+20 1.23e+06 1234567.891  1.235e+06",
    ),
    (
        '{{ printf "%s %d" "a" }} {{ printf "a" 1 "b" 1.5 }} {{ printf "%z" 1 }} {{ printf "%" }}',
        "a %!d(MISSING) a%!(EXTRA int=1, string=b, float64=1.5) %!z(int=1) %!(NOVERB)",
    ),
    ('{{ printf "%T %T %T %T" 1 1.5 "a" true }} {{ printf "%v" nil }}', "int float64 string bool <nil>"),
    (
        '{{ printf "%5s|%-5s|%.2s|%x" "ab" "ab" "abcdef" "hi" }} {{ printf "%05d|%5d|%-5d|" 42 42 42 }} {{ printf "%6.2f%%" 12.345 }}',
        "   ab|ab   |ab|6869 00042|   42|42   |  12.35%",
    ),
    ("{{ if gt $value 5.0 }}big{{ else }}small{{ end }}", "big"),
    (
        '{{ if eq $labels.job "api" "web" }}yes{{ end }} {{ if ne $labels.job "x" }}ne{{ end }} {{ if and true $labels.job }}and{{ end }} {{ or "" "second" }} {{ not true }}',
        "yes ne and second false",
    ),
    ('{{ if lt 1.0 2.0 }}a{{ end }}{{ if le 2 2 }}b{{ end }}{{ if ge "b" "a" }}c{{ end }}', "abc"),
    ("{{ if false }}a{{ else if true }}b{{ else }}c{{ end }}", "b"),
    (
        "{{ with $labels.job }}job={{ . }}{{ end }}{{ with $labels.none }}x{{ else }}none{{ end }}",
        "job=apinone",
    ),
    ('{{ with query "other" }}{{ . | first | value }}{{ end }}', "2"),
    ('{{ range query "other" }}{{ .Labels.zone }}={{ .Value }},{{ end }}', "b=2,a=1.5,"),
    ('{{ range $i, $s := query "other" }}{{ $i }}:{{ $s.Labels.zone }} {{ end }}', "0:b 1:a "),
    ('{{ range query "nothing" }}x{{ else }}empty{{ end }}', "empty"),
    ('{{ range query "other" | sortByLabel "zone" }}{{ label "zone" . }};{{ end }}', "a;b;"),
    ('{{ range sortByLabel "n" (query "other") }}{{ . | value | printf "%.1f" }};{{ end }}', "1.5;2.0;"),
    ('{{ (query "other" | first).Value }} {{ (first (query "other")).Labels.zone }}', "2 b"),
    (
        "{{ range $k, $v := $labels }}{{ $k }}={{ $v }} {{ end }}",
        "__name__=x instance=web-1.example.com:9100 job=api le=0.5 ",
    ),
    ("{{ $x := 5 }}{{ $x }}{{ $x = 6 }}{{ $x }}{{ if true }}{{ $x = 7 }}{{ end }}{{ $x }}", "567"),
    ('a  {{- " b " -}}  c', "a b c"),
    ("a {{/* comment */}} b{{- /* c */ -}}  d", "a  bd"),
    (
        '{{ toUpper "abc" }} {{ toLower "ABC" }} {{ title "hello wide-world it\'s a_b" }}',
        "ABC abc Hello Wide-World It'S A_b",
    ),
    ('{{ match "^web" $labels.instance }} {{ match "x+" "abc" }}', "true false"),
    (
        '{{ reReplaceAll "(\\\\w+)-(\\\\d)" "$2/${1}" $labels.instance }} {{ reReplaceAll "a(b)" "$1c" "abab" }} {{ reReplaceAll "x*" "-" "abc" }}',
        "1/web.example.com:9100  -a-b-c-",
    ),
    (
        '{{ stripPort $labels.instance }} {{ stripPort "[::1]:80" }} {{ stripPort "abc" }} {{ stripDomain $labels.instance }} {{ stripDomain "10.0.0.1:80" }} {{ stripDomain "a.b.c" }}',
        "web-1.example.com ::1 abc web-1:9100 10.0.0.1:80 a",
    ),
    ('{{ len "héllo" }} {{ len (query "other") }} {{ len $labels }}', "6 2 4"),
    (
        '{{ index $labels "job" }} {{ index $labels "x-y" }}| {{ (index (query "other") 1).Value }}',
        "api | 1.5",
    ),
    ('{{ slice "abcdef" 1 3 }}', "bc"),
    (
        '{{ print "a" 1 2 "b" 3 }} {{ print 1 2 }} {{ print "a" "b" }} {{ println "x" 1 }}',
        "a1 2b3 1 2 ab x 1\n",
    ),
    (
        "{{ 5 }} {{ 5.0 }} {{ 1e6 }} {{ 0x1F }} {{ 'a' }} {{ \"q\\tt\" }} {{ `raw\n` }} {{ true }} {{ -3 }} {{ 0.1 }} {{ 123456789.0 }} {{ 0.00001 }}",
        "5 5 1e+06 31 97 q\tt raw\n true -3 0.1 1.23456789e+08 1e-05",
    ),
    (
        '{{ html "<a href=\'x\'>&\\"" }} {{ urlquery "a b/c?d=é" }}',
        "&lt;a href=&#39;x&#39;&gt;&amp;&#34; a+b%2Fc%3Fd%3D%C3%A9",
    ),
    ('{{ safeHtml "<b>" }}', "<b>"),
    (
        '{{ graphLink "up{job=\\"x\\"}" }} {{ tableLink "up" }}',
        "/graph?g0.expr=up%7Bjob%3D%22x%22%7D&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
    ),
    ('{{ define "t" }}[{{ . }}]{{ end }}{{ template "t" "x" }}{{ template "t" $labels.job }}', "[x][api]"),
    ('{{ block "bl" "y" }}<{{ . }}>{{ end }}', "<y>"),
    ('{{ with args "a" 2 }}{{ .arg0 }} {{ .arg1 }}{{ end }}', "a 2"),
    ('{{ parseDuration "1h30m" }}', "5400"),
    ("{{ toTime 0 }}", "1970-01-01 00:00:00 +0000 UTC"),
    ('{{ $labels.job | toUpper | printf "%s-%s" "x" }}', "x-API"),
    (
        '{{ range query "other" }}{{ if eq .Labels.zone "b" }}{{ continue }}{{ end }}{{ .Value }}{{ end }}',
        "1.5",
    ),
    ('{{ range query "other" }}{{ .Value }}{{ break }}{{ end }}', "2"),
    (
        '{{ humanize 1e6 }} {{ humanize 123456 }} {{ humanize 0.1 }} {{ humanize 1000 }} {{ humanize "NaN" }} {{ humanize "-Inf" }}',
        "1M 123.5k 100m 1k NaN -Inf",
    ),
    (
        '{{ printf "%.4g" 123456.0 }} {{ printf "%.4g" 0.0001234 }} {{ printf "%f" 1.5 }} {{ printf "%.0f" 2.5 }} {{ printf "%g" 1e21 }} {{ printf "%v" 100000.0 }}',
        "1.235e+05 0.0001234 1.500000 2 1e+21 100000",
    ),
    ('{{ $v := query "other" | first | value }}{{ if $v }}{{ $v | printf "%.3f" }}{{ end }}', "2.000"),
    ('{{ printf "%s is %s" $labels.job ($value | humanize) }}', "api is 1.235M"),
    ('{{ js "it\'s <b>" }}', "it\\'s \\u003Cb\\u003E"),
    ('{{ strvalue (first (query "other")) }}|', "|"),
]
#: Texts that end in an error: its last words.
FAILING: Final = [
    ('{{ humanize "abc" }}', 'error calling humanize: strconv.ParseFloat: parsing "abc": invalid syntax'),
    ("{{ if gt $value 5 }}big{{ end }}", "error calling gt: incompatible types for comparison"),
    ('{{ query "nothing" | first | value }}', "first() called on vector with no elements"),
    ("{{ and }}", "wrong number of args for and: want at least 1 got 0"),
    ('{{ sortByLabel "x" 5 }}', "error calling sortByLabel: wrong number or types of 2 arguments"),
    ("{{ nil }}", "nil is not a command"),
]
#: Texts that cannot be parsed, and the words of Go.
WRONG: Final = [
    ("{{ $label.foo }}", 'undefined variable "$label"'),
    ("{{ humanise 1 }}", 'function "humanise" not defined'),
    ("{{ if true }}a", "unexpected EOF"),
    ("{{ $value", "unclosed action"),
    ("a\n{{ end }}", "2: unexpected {{end}}"),
    ("{{ (1 }}", "unclosed left paren"),
    ('{{ "a }}', "unterminated quoted string"),
    ("{{ }}", "missing value for command"),
    ('{{ "\\UFFFFFFFF" }}', "invalid syntax"),
    ("{{ 0x_ }}", "invalid syntax: 0x_"),
    ("{{ break }}", "{{break}} outside {{range}}"),
    ("{{ 1 | 2 }}", "non executable command in pipeline"),
]


def values() -> AlertValues:
    """Return the values that all cases see."""
    labels = {"__name__": "x", **LABELS}
    return AlertValues(labels, VALUE, lambda text: OTHER if text == "other" else [], {"cluster": "c1"})


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_texts(text: str, wanted: str) -> None:
    assert expanded("A", text, values()) == wanted


@pytest.mark.parametrize(("text", "words"), FAILING)
def test_errors_show_in_the_text(text: str, words: str) -> None:
    found = expanded("A", text, values())
    assert found.startswith("<error expanding template: error executing template __alert_A: ")
    assert found.endswith(f"{words}>")


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_wrong_templates_are_refused(text: str, words: str) -> None:
    with pytest.raises(TemplateError) as e:
        alert_template("A", text)
    assert words in str(e.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ range 99999999 }}{{ range 99999999 }}x{{ end }}{{ end }}",
        '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
        '{{ printf "%999999999d" 1 }}',
        "{{ $x := .Labels.job }}" + "{{ $x = print $x $x }}" * 40 + "{{ $x }}",
        "{{ if 1 }}" * 101 + "{{ end }}" * 101,
    ],
)
def test_hostile_texts_end_soon(text: str) -> None:
    assert expanded("A", text, values()).startswith("<error expanding template: ")
