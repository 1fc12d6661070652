"""Executes a schedule against a house, and compares the answers with the truth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from tests.e2e.product import send_tcp
from tests.faults.actors.clients import Messenger, send_udp
from tests.faults.actors.entrance import PATIENT_S, Entrance
from tests.faults.faults import FAULTS, Scene
from tests.faults.schedule import Step
from tests.faults.truth import Truth

#: How long an answer may take to show stored rows.
_SHOWN_S: Final = 240.0


def run(house: Entrance, truth: Truth, steps: Sequence[Step]) -> None:
    """Execute the steps, wait until all is drained, and fail with each batch that is not as promised."""
    messenger = Messenger(house.messages_url)
    scene = Scene(house, truth, messenger)
    away = False
    try:
        for step in steps:
            match step.action:
                case "send":
                    _send(house, truth, messenger, step.lines, agent=not away)
                case "promise":
                    house.wait_until_promised()
                    messenger.wait(PATIENT_S)
                    truth.promise()
                case "begin":
                    FAULTS[step.fault].begin(scene)
                    away = FAULTS[step.fault].agent_away
                case "heal":
                    FAULTS[step.fault].heal(scene)
                    away = False
        house.wait_until_promised(acknowledged=True)
        messenger.wait(PATIENT_S)
        truth.promise()
    finally:
        messenger.close()
    check(house, truth)


def check(house: Entrance, truth: Truth) -> None:
    """Fail with each batch whose answer is not as promised."""
    end = time.monotonic() + _SHOWN_S
    while (wrong := _wrong(house, truth)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not wrong, "\n".join(wrong)


def _wrong(house: Entrance, truth: Truth) -> list[str]:
    out: list[str] = []
    for kind, query, at, live in map(msgspec.structs.astuple, truth.questions(time.time())):
        answer = house.api.instant(query, at)
        counts = {dict(labels).get("batch", ""): value for labels, value in answer.items()}
        out += truth.wrong(kind, counts, live=live)
    return out


def _send(house: Entrance, truth: Truth, messenger: Messenger, n: int, *, agent: bool) -> None:
    messenger.send(truth.messages(n))
    if agent:
        send_tcp(house.tcp, truth.lines("tcp", n))
        send_tcp(house.tcp, truth.lines("live", n))
        send_udp(house.udp, truth.lines("udp", n))
        house.sent_lines += 12 * n
