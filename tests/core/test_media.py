"""Kinds of images and the most tokens that one takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.media import image_tokens, kind_of_image


@pytest.mark.parametrize(
    ("size", "quality", "kind"),
    [
        ("1024x1024", "high", "1024x1024/high"),
        ("1024X1024", " HD ", "1024x1024/hd"),
        ("1024x1024", None, "1024x1024"),
        ("auto", "high", "/high"),
        ("auto", "auto", ""),
        (None, "", ""),
    ],
)
def test_a_kind_of_image_is_its_size_and_quality_where_they_are_known(
    size: str | None, quality: str | None, kind: str
) -> None:
    assert kind_of_image(size, quality) == kind


# What vendors charge: the three fixed sizes of gpt-image-1 (OpenAI, image generation guide), and sizes of one's own.
@pytest.mark.parametrize(
    ("size", "quality", "charged"),
    [
        ("1024x1024", "low", 272),
        ("1024x1536", "low", 408),
        ("1024x1536", "medium", 1_584),
        ("1024x1024", "high", 7_024),
        ("1536x1024", "high", 6_208),
        ("3584x2048", "high", 12_329),
    ],
)
def test_an_image_takes_no_more_tokens_than_are_expected_of_it(size: str, quality: str, charged: int) -> None:
    assert charged <= image_tokens(size, quality) <= 2 * charged + 10
    assert image_tokens(size, quality) <= image_tokens(size, "auto") <= image_tokens("auto", "auto")


@given(st.none() | st.text(), st.none() | st.text())
def test_whatever_is_said_of_an_image_gives_a_short_kind_and_a_bounded_number(
    size: str | None, quality: str | None
) -> None:
    assert len(kind_of_image(size, quality)) <= 80
    assert 0 < image_tokens(size, quality) <= image_tokens(None, None)
