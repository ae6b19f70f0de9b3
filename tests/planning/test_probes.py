"""Links that nobody measured: how `auto` finds out their goodput."""

from __future__ import annotations

import random

import pytest

from muster.planning.codec_choice import (
    LADDER,
    START,
    CodecChoice,
    Message,
    SentMessage,
    choose,
    choose_probe,
)
from muster.planning.links import (
    PROBE_S,
    SAMPLES_USED,
    LinkEstimate,
    Probe,
    TransferSample,
    estimate_link,
    next_probe,
)  # fmt: skip

SMALL, MEDIUM, LARGE = Message(5_994), Message(28_938), Message(1_000_000)


def rounds(
    message: Message, bytes_s: float, latency_s: float, count: int, noise_s: float = 0.0, seed: int = 0
) -> list[CodecChoice]:
    """What one node sends, round by round, over a link of which only the samples are known."""
    rng = random.Random(seed)
    samples: list[TransferSample] = []
    sent: list[SentMessage] = []
    chosen: list[CodecChoice] = []
    down_bytes = 0
    for _ in range(count):
        link = estimate_link(samples, None)
        compute_s = 0.3 + link.latency_s
        at_least = link.at_least_bytes_s or 0.0
        usual = choose(message, link.goodput_bytes_s, compute_s, sent, at_least_bytes_s=at_least)
        choice = choose_probe(message, usual, down_bytes, next_probe(samples, link, compute_s))
        chosen.append(choice)
        size = choice.size_bytes + down_bytes
        samples.append(TransferSample(size, latency_s + size / bytes_s + rng.random() * noise_s))
        down_bytes = usual.size_bytes
        if not choice.probe:
            sent.append(SentMessage(choice.codec, 10.0))
    return chosen


def rungs(chosen: list[CodecChoice]) -> list[int]:
    return [LADDER.index(choice.codec) for choice in chosen]


@pytest.mark.parametrize("size", [SMALL, MEDIUM])
def test_on_a_lan_eight_bits_are_found_within_six_rounds(size: Message) -> None:
    chosen = rounds(size, 1e6, 0.02, 40)
    assert chosen[0].codec == "stc:0.05"
    assert "quant8" in [choice.codec for choice in chosen[:6]]
    assert min(rungs(chosen[6:])) >= LADDER.index("quant4")


def test_a_lan_of_busy_machines_is_found_out_a_little_later() -> None:
    """Most of the time: noise of six times the latency may look like bytes for a while."""
    soon = []
    for seed in range(40):
        chosen = rounds(MEDIUM, 1e6, 0.05, 40, noise_s=0.3, seed=seed)
        soon.append("quant8" in [choice.codec for choice in chosen[:15]])
        late = rungs(chosen[15:])
        assert sorted(late)[len(late) // 2] >= LADDER.index("quant4")
    assert sum(soon) >= 0.65 * len(soon)


@pytest.mark.parametrize(("noise_s", "seeds"), [(0.0, 1), (0.5, 20)])
@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
def test_a_link_of_9600_bits_a_second_stays_sparse_and_a_probe_costs_little(
    size: Message, noise_s: float, seeds: int
) -> None:
    """With noise of half a second one in six links sends a probe that takes longer than it may."""
    long = 0
    for seed in range(seeds):
        chosen = rounds(size, 1_200.0, 0.8, 60, noise_s, seed)
        assert max(rungs([c for c in chosen if not c.probe])) <= LADDER.index("stc:0.1")
        probes = [choice for choice in chosen if choice.probe]
        assert len(probes) <= 60 / SAMPLES_USED * 2
        extra = [max(0, p.size_bytes - size.size_bytes(START)) / 1_200 for p in probes]
        long += max(extra, default=0.0) > PROBE_S
        assert sum(extra) < 0.05 * sum(1.1 + choice.size_bytes / 1_200 for choice in chosen)
    assert long <= seeds // 6


def test_a_model_too_large_for_a_link_is_sent_in_smaller_messages() -> None:
    """Rounds of a minute, most of it bytes: without samples of two sizes it might all be latency."""
    chosen = rounds(LARGE, 1_200.0, 0.8, 20)
    assert chosen[0].codec == START
    assert chosen[-1].codec == LADDER[0]


def test_nothing_is_probed_where_the_goodput_is_known_or_nothing_was_sent() -> None:
    two = [TransferSample(1000, 0.1)] * 2
    assert next_probe([], LinkEstimate(0.0, None), 1.0) is None
    assert next_probe(two[:1], estimate_link(two[:1], None), 1.0) is None
    assert next_probe(two, estimate_link(two, 5_000.0), 1.0) is None
    assert next_probe(two, estimate_link(two, None), 1.0) is not None


def test_a_commit_that_is_a_probe_costs_less_than_a_message_may() -> None:
    samples = [TransferSample(1000, 0.8)] * 2
    link = estimate_link(samples, None)
    one, everybody = next_probe(samples, link, 1.0), next_probe(samples, link, 1.0, for_all=True)
    assert one is not None
    assert everybody is not None
    assert (one.over, one.under) == (everybody.over, everybody.under)
    assert link.at_least_bytes_s is not None
    assert everybody.most == pytest.approx(1.3 * link.at_least_bytes_s)
    assert one.most == pytest.approx(1.8 * link.at_least_bytes_s)


def test_a_probe_says_that_it_is_one() -> None:
    usual = choose(LARGE, None, 1.0)
    found = choose_probe(LARGE, usual, 0, Probe(40_000, 300_000, 10_000))
    assert (found.codec, found.probe) == ("stc:0.05", True)
    assert found.why.startswith("a probe: ")
    slow = choose_probe(LARGE, usual, 0, Probe(40_000, 40_000, 10_000))
    assert slow.probe
    assert slow.size_bytes <= 10_000
    assert choose_probe(LARGE, usual, 0, Probe(1e9, 1e9, 10_000)) == usual
    assert choose_probe(LARGE, usual, 0, None) == usual


def test_a_lower_bound_of_the_goodput_is_never_above_it() -> None:
    for bytes_s in (500.0, 5_000.0, 500_000.0):
        for sizes in ((1_000, 1_000), (1_000, 5_000), (500, 20_000, 500)):
            link = estimate_link([TransferSample(n, 0.2 + n / bytes_s) for n in sizes], None)
            assert (link.floor_bytes_s() or 0) <= bytes_s * 1.001
