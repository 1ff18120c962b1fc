from __future__ import annotations

import pytest
from anyarch.errors import RegistryProtocolError
from anyarch.registry.links import next_link
from hypothesis import given
from hypothesis import strategies as st

NEXT = "/v2/a/tags/list?n=2&last=b"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([], None, id="no header"),
        pytest.param([""], None, id="an empty one"),
        pytest.param([f'<{NEXT}>; rel="next"'], NEXT, id="as the specification writes it"),
        pytest.param([f"<{NEXT}>; rel=next"], NEXT, id="without quotes"),
        pytest.param([f"<{NEXT}>;rel=NEXT"], NEXT, id="upper case, no space"),
        pytest.param([f'  <{NEXT}>  ;  rel = "next"  '], NEXT, id="space everywhere"),
        pytest.param([f'<{NEXT}>; title="a, b; c"; rel="next"'], NEXT, id="another parameter first"),
        pytest.param([f'<{NEXT}>; rel="next"; type="application/json"'], NEXT, id="another parameter behind"),
        pytest.param([f'<{NEXT}>; rel="prefetch next"'], NEXT, id="two relations"),
        pytest.param([f'</first>; rel="first", <{NEXT}>; rel="next"'], NEXT, id="two links"),
        pytest.param(['</first>; rel="first"', f'<{NEXT}>; rel="next"'], NEXT, id="two headers"),
        pytest.param([f'<{NEXT}>; rel="next", <{NEXT}>; rel="next"'], NEXT, id="the same twice"),
        pytest.param(['</x>; rel="prev"'], None, id="only back"),
        pytest.param(['</x>; rel="prev"; rel="next"'], None, id="only the first rel counts"),
        pytest.param(["</x>"], None, id="no relation"),
        pytest.param(["</x>; rel"], None, id="a rel of nothing"),
        pytest.param(['<a,b>; rel="next"'], "a,b", id="a comma in the address"),
        pytest.param(['</x>; title="rel=\\"next\\""'], None, id="a rel inside another value is none"),
    ],
)
def test_the_next_page(headers: list[str], expected: str | None) -> None:
    assert next_link(headers) == expected


@pytest.mark.parametrize(
    "header",
    [
        pytest.param('/v2/x; rel="next"', id="no brackets"),
        pytest.param('</v2/x; rel="next"', id="bracket never closed"),
        pytest.param('</v2/x> rel="next"', id="no semicolon"),
        pytest.param('</v2/x>; rel="next', id="quote never closed"),
        pytest.param('</v2/x>; rel=next page"', id="space without quotes"),
        pytest.param('</a>; rel="next", </b>; rel="next"', id="two next pages"),
        pytest.param("</a>" + " " * 20_000, id="too long"),
    ],
)
def test_a_header_that_cannot_be_read_is_not_the_end(header: str) -> None:
    with pytest.raises(RegistryProtocolError) as refused:
        next_link([header])
    assert "/v2/x" not in str(refused.value)


@given(st.lists(st.text('<>;,="\\ \trelnextNEXT/?%', max_size=40), max_size=3))
def test_any_header_is_read_or_refused(headers: list[str]) -> None:
    try:
        found = next_link(headers)
    except RegistryProtocolError:
        return
    assert found is None or any(f"<{found}>" in header for header in headers)
