"""The tables of *Check it* cells: what gets a ✓, and how they read in a kernel and in a page."""

import pytest
import torch
from explorers import Page

from companion.comparison import compare, over_seeds


def marks(table):
    return [holds for _, _, holds in table.rows]


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("=", [False, False, True, False]),
        ("≤", [True, True, True, False]),
        ("≥", [False, False, True, True]),
    ],
)
def test_a_row_holds_by_the_tolerance_alone(relation, expected):
    rows = [("far below", 0.0, 9.0), ("below", 1.0, 1.2), ("near", 1.05, 1.0), ("above", 1.2, 1.0)]
    assert marks(compare("a", "b", rows, relation=relation, tolerance=0.1)) == expected


def test_not_a_number_never_holds():
    rows = [("a", float("nan"), 1.0)]
    for relation in "=≤≥":
        assert marks(compare("l", "r", rows, relation=relation, tolerance=1.0)) == [False]
    assert "✗" in repr(compare("l", "r", rows))


def test_rows_can_have_tolerances_of_their_own():
    rows = [("wide", 1.0, 1.2, 0.3), ("narrow", 1.0, 1.2, 0.1)]
    table = compare("a", "b", rows, allowed="3 standard errors", digits=1)
    assert marks(table) == [True, False]
    assert "allowed" in table.columns
    assert table.statement == "✓ equal, to within 3 standard errors"


def test_a_difference_of_rounding_is_not_printed():
    # It differs from processor to processor, and the text is kept with the chapter.
    table = compare("a", "b", [("x", 1.0 + 1e-13, 1.0), ("y", 2.0, 1.0)], tolerance=1e-9, digits=4)
    assert repr(table).splitlines() == [
        "a = b",
        "        a       b  difference",
        "x  1.0000  1.0000     < 1e-09  ✓",
        "y  2.0000  1.0000      1.0000  ✗",
        "✓ equal, to within 1e-09",
    ]


def test_an_unknown_relation_is_refused():
    with pytest.raises(KeyError):
        compare("a", "b", [("x", 1, 2)], relation="~")


def test_tensors_are_numbers():
    values = torch.tensor([-1.5, 2.0], requires_grad=True)
    table = compare("a", "b", [("x", values[0], values[:1])], digits=1)
    assert table.rows == [("x", ["−1.5", "−1.5", "0.0"], True)]


def test_seeds_are_counted_and_every_one_must_hold():
    rows = [("up", torch.tensor([1.0, 2.0, 3.0]), ">", 0.5), ("down", [-1.0, 1.0, -1.0], "<", -0.5)]
    table = over_seeds("runs", rows, unit="nats", digits=1)
    assert [cells for _, cells, _ in table.rows] == [["3 of 3", "> 0.5"], ["2 of 3", "< −0.5"]]
    assert marks(table) == [True, False]
    assert table.measured == ("mean ± spread (nats)", ["2.0 ± 1.0", "−0.3 ± 1.2"])
    assert "2.0 ± 1.0" not in repr(table), "another processor trains to other numbers"
    assert "2.0 ± 1.0" in table.to_html()


def test_the_card_is_a_table_that_screen_readers_can_read():
    card = compare("log p", "<ELBO>", [("x & y", 2.0, 1.0)], relation="≥", title="A & B").to_html()
    block = Page(card)
    assert block.of("div")[0]["class"] == "check-card"
    assert [head["scope"] for head in block.of("th")] == ["col"] * 5 + ["row"]
    for text in ("A & B", "<ELBO>", "x & y", "yes"):
        assert text in block.text


@pytest.mark.parametrize("where", ["page", ""])
def test_a_kernel_prints_and_the_page_has_a_card(where, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setenv("COMPANION_EXPLORE", where)
    table = compare("a", "b", [("x", 1, 1)])
    table._ipython_display_()
    printed = capsys.readouterr().out
    if where:
        assert shown[0].data == table.to_html()
        assert not printed
    else:
        assert printed == f"{table}\n\n"
        assert not shown
