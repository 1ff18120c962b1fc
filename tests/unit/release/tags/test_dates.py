"""Dates as Moment.js writes them: each word of its documentation, against what that library gives."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from anyarch.errors import UsageError
from anyarch.release.tags.dates import format_date
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2020, 1, 3, 15, 5, 9, 123456, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("YYYY YY Y YYYYYY", "2020 20 2020 +002020"),
        ("M Mo MM MMM MMMM", "1 1st 01 Jan January"),
        ("D Do DD DDD DDDo DDDD", "3 3rd 03 3 3rd 003"),
        ("d do dd ddd dddd e E", "5 5th Fr Fri Friday 5 5"),
        ("w wo ww W Wo WW gg gggg GG GGGG", "1 1st 01 1 1st 01 20 2020 20 2020"),
        ("Q Qo", "1 1st"),
        ("H HH h hh k kk A a", "15 15 3 03 15 15 PM pm"),
        ("m mm s ss S SS SSS SSSS", "5 05 9 09 1 12 123 1230"),
        ("hmm hmmss Hmm Hmmss", "305 30509 1505 150509"),
        ("X x", "1578063909 1578063909123"),
        ("z zz Z ZZ", "UTC UTC +00:00 +0000"),
        ("N NNNN", "AD Anno Domini"),
        (
            "L LL LLL LLLL",
            "01/03/2020 January 3, 2020 January 3, 2020 3:05 PM Friday, January 3, 2020 3:05 PM",
        ),
        ("l ll lll llll", "1/3/2020 Jan 3, 2020 Jan 3, 2020 3:05 PM Fri, Jan 3, 2020 3:05 PM"),
        ("LT LTS", "3:05 PM 3:05:09 PM"),
        ("[at] [YYYY] \\Y", "at YYYY Y"),
        ("dddd, MMMM Do YYYY, h:mm:ss a", "Friday, January 3rd 2020, 3:05:09 pm"),
        ("YYYY-MM-DDTHH:mm:ss.SSS[Z]", "2020-01-03T15:05:09.123Z"),
    ],
)
def test_every_word_has_its_meaning(pattern: str, expected: str) -> None:
    assert format_date(AT, pattern, zone="UTC") == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2021-01-03", "2021 02 2020 53"),  # a Sunday: America's second week, ISO's last
        ("2018-12-30", "2019 01 2018 52"),
        ("2022-12-31", "2022 53 2022 52"),
        ("2011-12-31", "2011 53 2011 52"),
        ("2016-01-02", "2016 01 2015 53"),
    ],
)
def test_weeks_are_americas_or_isos(day: str, expected: str) -> None:
    assert (
        format_date(datetime.fromisoformat(f"{day}T12:00:00+00:00"), "gggg ww GGGG WW", zone="UTC")
        == expected
    )


@pytest.mark.parametrize(
    ("day", "expected"), [(1, "1st"), (2, "2nd"), (11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd")]
)
def test_ordinals(day: int, expected: str) -> None:
    assert format_date(AT.replace(day=day), "Do", zone="UTC") == expected


def test_a_zone_moves_the_clock_and_has_its_own_summer() -> None:
    assert format_date(AT, "HHmm ZZ z", zone="Asia/Tokyo") == "0005 +0900 JST"
    assert format_date(AT.replace(month=7), "HHmm Z", zone="America/New_York") == "1105 -04:00"
    assert format_date(AT.replace(hour=0), "h k", zone="UTC") == "12 24"


@given(st.text(max_size=40))
def test_any_pattern_gives_a_text(pattern: str) -> None:
    assert isinstance(format_date(AT, pattern, zone="UTC"), str)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="'Europe/Atlantis' is not a time zone"):
        format_date(AT, "Y", zone="Europe/Atlantis")
