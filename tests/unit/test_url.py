"""Store URLs: taken apart, printed without secrets, refused with words that help."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import ConfigurationError
from leaderlock.url import StoreURL, mask_secret, name, seconds, seconds_or_zero, whole_number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("memory://", ("memory", "", "", "", "")),
        ("memory://name", ("memory", "name", "", "", "")),
        ("sqlite:///path/file.db", ("sqlite", "", "/path/file.db", "", "")),
        ("sqlite:///a@b/file.db", ("sqlite", "", "/a@b/file.db", "", "")),
        ("zookeeper://h1:2181,h2:2181/app", ("zookeeper", "h1:2181,h2:2181", "/app", "", "")),
        ("redis://u:p@h:6379/0", ("redis", "h:6379", "/0", "u", "p")),
        ("redis://:p@h", ("redis", "h", "", "", "p")),
        ("redis://u@h", ("redis", "h", "", "u", "")),
        ("redis://u:p%40%2F%23%3F%3A@h/a%40b", ("redis", "h", "/a@b", "u", "p@/#?:")),
        ("redis://u:p@ss@h", ("redis", "h", "", "u", "p@ss")),
        ("etcd://[::1]:2379,[::2]:2379", ("etcd", "[::1]:2379,[::2]:2379", "", "", "")),
        ("redis+sentinel://h:26379/m/0", ("redis+sentinel", "h:26379", "/m/0", "", "")),
        ("memory://%E2%82%AC", ("memory", "€", "", "", "")),
    ],
)
def test_it_is_taken_apart(text: str, parts: tuple[str, ...]) -> None:
    url = StoreURL.parse(text)
    assert (url.scheme, url.authority, url.path, url.username, url.password) == parts


def test_the_query_is_decoded_and_may_be_empty() -> None:
    url = StoreURL.parse("memory://n?ttl=5&empty=&text=a%26b+c%3Dd")
    assert url.query == {"ttl": "5", "empty": "", "text": "a&b c=d"}
    assert StoreURL.parse("memory://?").query == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a store URL"),
        ("billing", "not a store URL"),
        ("/path/file.db", "not a store URL"),
        ("sqlite:/path", "not a store URL"),
        ("://host", "not a store URL"),
        ("Redis://host", "not a store URL"),
        ("1redis://host", "not a store URL"),
        ("redis ://host", "not a store URL"),
        ("redis://ho st", "no spaces or control characters"),
        ("redis://host\n", "no spaces or control characters"),
        ("redis://host/\x00", "no spaces or control characters"),
        ("redis://host#", "no fragment"),
        ("redis://host#frag", "no fragment"),
        ("redis://[::1", "is not valid"),
        ("redis://[nonsense]/0", "is not valid"),
        ("redis://h\u2100st", "is not valid"),
        ("redis://h?ttl", "not of the form name=value"),
        ("redis://h?ttl=5&", "not of the form name=value"),
        ("redis://h?ttl=5&ttl=6", "'ttl' stands twice"),
        ("redis://u:pa/ss@h/0", "'/' in a password as %2F"),
        ("redis://h/%ff", "not UTF-8"),
        ("redis://%ff", "not UTF-8"),
        ("redis://u:%ff@h", "not UTF-8"),
        ("redis://h?a=%ff", "name=value"),
    ],
)
def test_what_is_no_url_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        StoreURL.parse(text)


@pytest.mark.parametrize("value", [None, 5, b"memory://", ["memory://"]])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a str, not"):
        StoreURL.parse(value)


@given(st.text())
def test_nothing_but_our_error_comes_out(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis://h/{text}", f"redis://h?{text}"):
        try:
            StoreURL.parse(url)
        except ConfigurationError:
            continue


class TestSecrets:
    secret = "hunter2"

    @pytest.mark.parametrize(
        "text",
        [
            "redis://u:hunter2@h:6379/0",
            "redis://:hunter2@h",
            "redis://u:a@hunter2@h",
            "redis://h?password=hunter2",
            "redis://h?PASSWD=hunter2&ttl=5",
            "redis://h?passphrase=hunter2",
            "consul://h?token=hunter2",
            "etcds://h?ssl_key=hunter2",
            "redis://h?client_secret=hunter2",
            "zookeeper://h?auth=digest:u:hunter2",
        ],
    )
    def test_neither_text_nor_repr_shows_them(self, text: str) -> None:
        url = StoreURL.parse(text)
        assert "hunter2" not in str(url)
        assert "hunter2" not in repr(url)
        assert "***" in str(url)

    def test_the_rest_is_shown(self) -> None:
        text = "redis://u:hunter2@h1:1,h2:2/0?ttl=5&password=hunter2&tls_ca=%2Fetc%2Fca.pem"
        assert (
            str(StoreURL.parse(text))
            == "redis://u:***@h1:1,h2:2/0?ttl=5&password=***&tls_ca=/etc/ca.pem"
        )

    @given(st.text(alphabet="ab@/?#:%[] \x00\u2100", max_size=8), st.sampled_from(["u", ""]))
    def test_no_unescaped_password_comes_to_light(self, noise: str, user: str) -> None:
        for text in (
            f"redis://{user}:{noise}hunter2@h/0",
            f"redis://{user}:hunter2{noise}@h/0",
            f"redis:/{user}:hunter2{noise}@h/0",
            f"{user}:hunter2{noise}@h/0",
        ):
            try:
                shown = str(StoreURL.parse(text))
            except ConfigurationError as error:
                assert "hunter2" not in str(error), (text, str(error))
                assert error.__context__ is None or error.__suppress_context__
            else:
                assert "hunter2" not in shown, (text, shown)

    def test_settings_are_masked_by_their_name(self) -> None:
        assert mask_secret("password", "x") == mask_secret("my_token", "x") == "***"
        assert mask_secret("ttl", "5") == "5"


class TestParsers:
    @pytest.mark.parametrize("value", [1, 0.5, "1", "0.5", "1e2", 10**6])
    def test_seconds(self, value: Any) -> None:
        assert seconds(value) == float(value)
        assert seconds_or_zero(value) == float(value)

    @pytest.mark.parametrize("value", [0, "0", 0.0])
    def test_zero_seconds(self, value: Any) -> None:
        assert seconds_or_zero(value) == 0
        with pytest.raises(ValueError, match="positive number of seconds"):
            seconds(value)

    @pytest.mark.parametrize(
        "value",
        ["", "five", "5s", "nan", "inf", math.nan, math.inf, -1, "-1", True, None, [], b"5"],
    )
    def test_what_is_no_number_of_seconds(self, value: Any) -> None:
        for parse in (seconds, seconds_or_zero):
            with pytest.raises(ValueError, match="seconds"):
                parse(value)

    def test_a_number_too_large_for_a_float(self) -> None:
        with pytest.raises(ValueError, match="seconds"):
            seconds(10**400)

    @pytest.mark.parametrize("value", [0, 7, "0", "7", "07"])
    def test_whole_numbers(self, value: Any) -> None:
        assert whole_number(0, 7)(value) == int(value)

    @pytest.mark.parametrize(
        "value",
        [-1, 8, "8", "-1", "+1", " 1", "1 ", "1_0", "1.0", 1.0, "", "٣", True, None, "9" * 30],
    )
    def test_what_is_no_whole_number(self, value: Any) -> None:
        with pytest.raises(ValueError, match="a whole number from 0 to 7"):
            whole_number(0, 7)(value)

    @pytest.mark.parametrize("value", ["a", "a" * 255, "€" * 255, "\x00", "../x", " ", "🦊", "a/b"])
    def test_names(self, value: str) -> None:
        assert name(value) == value

    @pytest.mark.parametrize("value", ["", "a" * 256, "\ud800", None, 5, b"a", ["a"]])
    def test_what_is_no_name(self, value: Any) -> None:
        with pytest.raises(ValueError, match="1 to 255 characters"):
            name(value)
