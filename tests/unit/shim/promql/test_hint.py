"""How to write a name as it was sent: after Prometheus' words, which stay."""

from __future__ import annotations

import pytest

from shim.model.errors import BadData
from shim.plan.parse import parse, parse_selector

SHOP = '("shop.requests" is written shop_requests or {"shop.requests"})'
POD = '("k8s.pod.name" is written k8s_pod_name or "k8s.pod.name")'
DASH = '("a.b-c.2" is written a_b_c_2 or {"a.b-c.2"})'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shop.requests", f"1:5: parse error: unexpected character: '.' {SHOP}"),
        ("rate(shop.requests[5m])", f"1:10: parse error: unexpected character: '.' {SHOP}"),
        ("'a.b' == up # c.d\n and shop.requests", f"2:10: parse error: unexpected character: '.' {SHOP}"),
        ("{shop.requests}", f"1:6: parse error: unexpected character inside braces: '.' {SHOP}"),
        ("sum by (k8s.pod.name) (x)", f"1:12: parse error: unexpected character: '.' {POD}"),
        ("sum(x) without(a, k8s.pod.name)", f"1:22: parse error: unexpected character: '.' {POD}"),
        ("x * on (k8s.pod.name) y", f"1:12: parse error: unexpected character: '.' {POD}"),
        ('x{k8s.pod.name=~"a"}', f"1:6: parse error: unexpected character inside braces: '.' {POD}"),
        ("y/a.b-c.2", "1:4: parse error: unexpected character: '.' " + DASH),
        ("cpu.温度", "1:4: parse error: unexpected character: '.' (\"cpu.温度\" is written {\"cpu.温度\"})"),
        ("foo..bar", "1:4: parse error: unexpected character: '.'"),
        ("foo.", "1:4: parse error: unexpected character: '.'"),
        ("1.5.2", '1:1: parse error: bad number or duration syntax: "1.5."'),
        ('"a.b" +', "1:8: parse error: unexpected end of input"),
        ("rate(x[5.m])", '1:8: parse error: not a valid duration string: "5.m"'),
    ],
)  # fmt: skip
def test_hints(text: str, message: str) -> None:
    with pytest.raises(BadData) as raised:
        parse(text)
    assert str(raised.value) == message


def test_selectors() -> None:
    with pytest.raises(BadData) as raised:
        parse_selector("shop.requests")
    assert str(raised.value) == f"1:5: parse error: unexpected character: '.' {SHOP}"
