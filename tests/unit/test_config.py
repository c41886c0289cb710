"""Five layers of settings, one Config; and every value that is refused, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Client, ConfigurationError, LeaderElector, UnknownBackend, connect
from leaderlock.backends.base import Settings
from leaderlock.backends.memory import MemoryBackend
from leaderlock.config import Config, read_mapping, resolve
from leaderlock.registry import _BUILT_IN
from leaderlock.url import Option, seconds


class Optioned(MemoryBackend):
    """A backend with an option of its own."""

    options = {"poll": Option(seconds, "a test's"), "password": Option(seconds, "a secret one")}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for key in list(os.environ):
        if key.startswith("LEADERLOCK_"):
            monkeypatch.delenv(key)
    monkeypatch.setitem(_BUILT_IN, "optioned", (__name__, "Optioned", ""))


def timing(config: Config, key: str) -> Any:
    return getattr(config.timing, key)


# key: (values of the layers keyword, mapping, URL query, environment, default; how to read it)
TIMES = ("ttl", "heartbeat", "request_timeout", "stop_grace", "drain_timeout")
CHOICES: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    "election": ("k", "m", None, "v", None),
    "candidate_id": ("k", "m", None, "v", None),
    "metadata": ({"from": "k"}, {"from": "m"}, None, '{"from": "v"}', {}),
    "ttl": (21, 22, "23", "24", 10.0),
    "heartbeat": (1.1, 1.2, "1.3", "1.4", pytest.approx(20 / 9)),
    "request_timeout": (1.1, 1.2, "1.3", "1.4", pytest.approx(20 / 9)),
    "stop_grace": (0.1, 0.2, "0.3", "0.4", 0.0),
    "drain_timeout": (1.1, 1.2, "1.3", "1.4", pytest.approx(20 / 3)),
    "namespace": ("k", "m", "q", "v", "leaderlock"),
    "epoch": (2, 3, "4", "5", 1),
    "poll": (1, 2, "3", "4", None),
}
LAYERS = ("keyword", "mapping", "query", "environment")


def read(config: Config, key: str) -> Any:
    if key in TIMES:
        return timing(config, key)
    return config.url.options.get(key) if key == "poll" else getattr(config, key)


def meant(key: str, value: Any) -> Any:
    if key in ("metadata",) and isinstance(value, str):
        return json.loads(value)
    return float(value) if key in (*TIMES, "poll") else type(CHOICES[key][0])(value)


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("key", CHOICES)
def test_the_earlier_layer_wins_for_every_key(
    key: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers from the `first` on have a value; that of the first counts."""
    keywords: dict[str, Any] = {}
    mapping: dict[str, Any] = {"url": "optioned://", "election": "e"}
    if key == "election":
        del mapping["election"]
    for layer, value in list(zip(LAYERS, CHOICES[key][:4], strict=True))[first:]:
        if value is None:
            continue
        match layer:
            case "keyword":
                keywords[key] = value
            case "mapping":
                mapping[key] = value
            case "query":
                mapping["url"] = f"optioned://?{key}={value}"
            case "environment":
                monkeypatch.setenv(f"LEADERLOCK_{key.upper()}", value)
    given = [value for value in CHOICES[key][first:4] if value is not None]
    if key == "election" and not given:
        with pytest.raises(ConfigurationError, match="no election given"):
            resolve(keywords, mapping)
        return
    config = resolve(keywords, mapping)
    if key == "candidate_id" and not given:
        assert config.candidate_id
        return
    assert read(config, key) == (meant(key, given[0]) if given else CHOICES[key][4])


def test_the_url_comes_from_the_first_layer_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADERLOCK_URL", "memory://environment")
    monkeypatch.setenv("LEADERLOCK_ELECTION", "e")
    assert LeaderElector.from_env()._client.config.url.authority == "environment"
    elector = LeaderElector.from_config({"url": "memory://mapping"})
    assert elector._client.config.url.authority == "mapping"
    elector = LeaderElector.from_config({"url": "memory://mapping"}, url="memory://keyword")
    assert elector._client.config.url.authority == "keyword"
    assert LeaderElector("memory://argument")._client.config.url.authority == "argument"
    assert connect()._given_backend is None
    assert connect().config.url.authority == "environment"


def test_from_env_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADERLOCK_URL", "memory://env")
    monkeypatch.setenv("LEADERLOCK_ELECTION", "billing")
    monkeypatch.setenv("LEADERLOCK_TTL", "5")
    monkeypatch.setenv("LEADERLOCK_CANDIDATE_ID", "web-1")
    monkeypatch.setenv("LEADERLOCK_METADATA", '{"host": "a"}')
    told: list[object] = []
    elector = LeaderElector.from_env(on_elected=told.append)
    assert (elector.election, elector.candidate_id) == ("billing", "web-1")
    assert elector.timing.ttl == 5
    with elector.lead(timeout=20):
        info = elector.leader()
        assert info is not None and info.metadata == {"host": "a"}
    assert told


def test_the_environment_reaches_the_electors_of_a_client_and_of_a_ready_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEADERLOCK_CANDIDATE_ID", "web-1")
    monkeypatch.setenv("LEADERLOCK_METADATA", '{"host": "a"}')
    monkeypatch.setenv("LEADERLOCK_ELECTION", "billing")
    monkeypatch.setenv("LEADERLOCK_EPOCH", "7")
    monkeypatch.setenv("LEADERLOCK_TTL", "99")
    backend = MemoryBackend(Settings(ttl=3, request_timeout=0.6), "ready")
    for elector in (
        connect("memory://").elector("e"),
        connect(backend).elector("e"),
        LeaderElector(backend, "e"),
    ):
        assert elector.candidate_id == "web-1"
        assert elector._candidate._epoch == 7
        assert b'"host": "a"' in elector._candidate._payload
    assert connect("memory://").timing.ttl == 99
    assert connect(backend).timing.ttl == 3, "a ready backend has its ttl"
    assert LeaderElector(backend).election == "billing"
    assert LeaderElector(connect("memory://")).election == "billing"
    assert connect(backend).elector("e", candidate_id="other").candidate_id == "other"


def test_candidate_ids_differ_by_default() -> None:
    client = connect("memory://")
    ids = {client.elector("e").candidate_id for _ in range(10)}
    ids |= {LeaderElector("memory://", "e").candidate_id for _ in range(10)}
    assert len(ids) == 20


class TestFiles:
    def write(self, path: Path, text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path

    def test_the_table_leaderlock(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "leaderlock.toml",
            '[leaderlock]\nurl = "memory://"\nelection = "bılling"\nttl = 7\n'
            'metadata = { host = "a", ports = [1, 2] }\n',
        )
        for source in (path, str(path)):
            elector = LeaderElector.from_config(source)
            assert elector.election == "bılling"
            assert elector.timing.ttl == 7

    def test_the_table_tool_leaderlock_of_a_pyproject(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "pyproject.toml",
            '[project]\nname = "x"\n[tool.leaderlock]\nurl = "memory://"\nelection = "billing"\n',
        )
        assert LeaderElector.from_config(path, ttl=4).timing.ttl == 4

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "has no table"),
            ("[other]\nx = 1", "has no table"),
            ("leaderlock = 5", "has no table"),
            ("tool = 5", "has no table"),
            ("tool = { leaderlock = 5 }", "has no table"),
            ("[leaderlock", "cannot read"),
            ("[leaderlock]\nurl = 5", "must be a str, not int"),
            ("[leaderlock]\nelection = 'e'", "no store given"),
            ("[leaderlock]\nurl = 'memory://'", "no election given"),
            ("[leaderlock]\nurl = 'memory://'\nelection = 'e'\ntll = 5", "unknown key 'tll'"),
            (
                "[leaderlock]\nurl = 'memory://'\nelection = 'e'\nmetadata = {a = 1979-05-27}",
                "metadata=.* must be a mapping",
            ),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path: Path, text: str, words: str) -> None:
        path = self.write(tmp_path / "x.toml", text)
        with pytest.raises(ConfigurationError, match=words):
            LeaderElector.from_config(path)

    def test_files_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "latin").write_bytes(b"[leaderlock]\nelection = '\xff'")
        for name in ("missing.toml", ".", "latin", "nul\0"):
            with pytest.raises(ConfigurationError, match="cannot read the configuration file"):
                LeaderElector.from_config(tmp_path / name)

    @pytest.mark.parametrize("source", [None, 5, b"x.toml", ["a"]])
    def test_what_is_neither_mapping_nor_path_is_refused(self, source: Any) -> None:
        with pytest.raises(ConfigurationError, match="a mapping or a TOML file"):
            read_mapping(source)


class TestUnknownKeys:
    def test_keywords(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown keyword 'tll'; known are url,.* ttl"):
            LeaderElector("memory://", "e", tll=5)
        with pytest.raises(ConfigurationError, match="unknown keyword 'tll'"):
            connect("memory://", tll=5)
        with pytest.raises(ConfigurationError, match="unknown keyword beside a ready .* 'tll'"):
            connect(MemoryBackend(Settings(ttl=3, request_timeout=0.6)), tll=5)
        with pytest.raises(ConfigurationError, match="unknown keyword of an elector 'ttl'"):
            LeaderElector(connect("memory://"), "e", ttl=5)

    def test_what_a_ready_backend_brings_cannot_be_given_beside_it(self) -> None:
        backend = MemoryBackend(Settings(ttl=3, request_timeout=0.6))
        for key, value in (("ttl", 5), ("request_timeout", 1), ("namespace", "x")):
            with pytest.raises(ConfigurationError, match=f"unknown keyword .* {key!r}"):
                connect(backend, **{key: value})

    @pytest.mark.parametrize("key", ["election", "candidate_id", "metadata"])
    def test_what_belongs_to_an_elector_is_not_silently_taken_by_a_client(self, key: str) -> None:
        value: Any = {"a": 1} if key == "metadata" else "x"
        for store in ("memory://", MemoryBackend(Settings(ttl=3, request_timeout=0.6))):
            with pytest.raises(ConfigurationError, match=f"{key!r}.*elector"):
                connect(store, **{key: value})

    def test_a_second_url_is_not_silently_preferred(self) -> None:
        backend = MemoryBackend(Settings(ttl=3, request_timeout=0.6))
        with pytest.raises(ConfigurationError, match="'url'"):
            LeaderElector("memory://", "e", url="memory://other")
        with pytest.raises(ConfigurationError, match="'url'"):
            connect("memory://", url="memory://other")
        for store in (backend, connect("memory://")):
            with pytest.raises(ConfigurationError, match="'url'"):
                LeaderElector(store, "e", url="memory://other")
        with pytest.raises(ConfigurationError, match="'url'"):
            connect(backend, url="memory://other")
        assert connect(url="memory://other").config.url.authority == "other"

    def test_keys_of_a_mapping(self) -> None:
        mapping = {"url": "memory://", "election": "e", "tll": 5}
        with pytest.raises(ConfigurationError, match="unknown key 'tll'; known are url,.* ttl"):
            LeaderElector.from_config(mapping)
        odd: Any = {"url": "memory://", "election": "e", 5: 5}
        with pytest.raises(ConfigurationError, match="unknown key 5"):
            LeaderElector.from_config(odd)

    def test_parameters_of_a_url(self) -> None:
        with pytest.raises(ConfigurationError, match="unknown parameter of memory://n 'tll'") as e:
            LeaderElector("memory://n?tll=5", "e")
        assert "known are ttl, heartbeat" in str(e.value)
        for key in ("election", "candidate_id", "metadata", "url"):
            with pytest.raises(ConfigurationError, match=f"unknown parameter .* {key!r}"):
                LeaderElector(f"memory://?{key}=x", "e")

    def test_environment_variables_in_from_env_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LEADERLOCK_URL", "memory://")
        monkeypatch.setenv("LEADERLOCK_ELECTION", "e")
        monkeypatch.setenv("LEADERLOCK_TLL", "5")
        with pytest.raises(
            ConfigurationError, match="variable 'LEADERLOCK_TLL'; known are LEADERLOCK_URL"
        ):
            LeaderElector.from_env()
        LeaderElector("memory://", "e")
        LeaderElector.from_config({"url": "memory://", "election": "e"})

    def test_variables_of_other_tools_are_read_past(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in (
            ("LEADERLOCK_URL", "memory://"),
            ("LEADERLOCK_ELECTION", "e"),
            ("LEADERLOCK_SERVERS", "x"),
            ("LEADERLOCK_TOKEN", "x"),
            ("LEADERLOCK_MONITOR", "x"),
            ("LEADERLOCK_MONITOR_TOKEN", "x"),
        ):
            monkeypatch.setenv(key, value)
        LeaderElector.from_env()

    def test_options_of_one_store_are_unknown_to_another(self) -> None:
        LeaderElector("optioned://?poll=1", "e")
        with pytest.raises(ConfigurationError, match="unknown parameter of memory:// 'poll'"):
            LeaderElector("memory://?poll=1", "e")


BAD = [
    ("ttl", 0, "ttl=0 must be a positive number of seconds"),
    ("ttl", -1, "ttl=-1 must be"),
    ("ttl", "soon", "ttl='soon' must be"),
    ("ttl", float("nan"), "ttl=nan must be"),
    ("ttl", float("inf"), "ttl=inf must be"),
    ("ttl", True, "ttl=True must be"),
    ("ttl", [], r"ttl=\[\] must be"),
    ("ttl", 0.01, "ttl=0.01 is outside what this store grants: 0.05 to 86400 seconds"),
    ("ttl", 1e9, "is outside what this store grants"),
    ("heartbeat", 0, "heartbeat=0 must be"),
    ("heartbeat", 9, "heartbeat=9.*belief window"),
    ("request_timeout", "x", "request_timeout='x' must be"),
    ("request_timeout", 3, "request_timeout=3.*three times"),
    ("stop_grace", -1, "stop_grace=-1 must be 0 or more seconds"),
    ("stop_grace", 7, "stop_grace=7 leaves nothing of the belief window"),
    ("drain_timeout", 0, "drain_timeout=0 must be"),
    ("namespace", "", "namespace='' must be a text of 1 to 255 characters"),
    ("namespace", 5, "namespace=5 must be"),
    ("epoch", -1, "epoch=-1 must be a whole number from 0 to 2147483647"),
    ("epoch", 2**31, "epoch=2147483648 must be"),
    ("epoch", 1.5, "epoch=1.5 must be"),
    ("epoch", "one", "epoch='one' must be"),
    ("election", "", "election='' must be a text of 1 to 255 characters"),
    ("election", "x" * 256, "must be a text of 1 to 255 characters"),
    ("election", 5, "election=5 must be"),
    ("election", "\ud800", "without lone surrogates"),
    ("candidate_id", "", "candidate_id='' must be"),
    ("candidate_id", b"x", "candidate_id=b'x' must be"),
    ("metadata", 5, "metadata=5 must be a mapping of names to JSON values"),
    ("metadata", {1: 2}, "metadata={1: 2} must be"),
    ("metadata", {"a": object()}, "metadata=.* must be"),
    ("metadata", {"a": float("nan")}, "metadata=.* must be"),
    ("metadata", {"a": "x" * 4096}, "at most 4096 bytes"),
    ("metadata", "[1]", "must be a mapping"),
    ("metadata", "{", "must be a mapping"),
    ("metadata", "[" * 100_000, "must be a mapping"),
]


@pytest.mark.parametrize(("key", "value", "words"), BAD, ids=lambda value: str(value)[:20])
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    key: str, value: Any, words: str
) -> None:
    keywords = {"election": "e", key: value}
    with pytest.raises(ConfigurationError, match=words):
        LeaderElector("memory://", **keywords)
    with pytest.raises(ConfigurationError, match=words):
        LeaderElector.from_config({"url": "memory://", **keywords})


def test_metadata_that_contains_itself_or_is_too_deep_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (circle, {"deep": deep}):
        with pytest.raises(ConfigurationError, match="must be a mapping") as caught:
            LeaderElector("memory://", "e", metadata=value)
        assert len(str(caught.value)) < 1000


def test_a_bad_value_is_refused_with_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"ttl='x' in memory://n\?ttl=x must be"):
        LeaderElector("memory://n?ttl=x", "e")
    monkeypatch.setenv("LEADERLOCK_TTL", "y")
    with pytest.raises(ConfigurationError, match="ttl='y' in the environment must be"):
        LeaderElector("memory://", "e")


def test_a_secret_value_is_not_shown_when_it_is_refused() -> None:
    ways: list[Callable[[], LeaderElector]] = [
        lambda: LeaderElector("optioned://?password=hunter2", "e"),
        lambda: LeaderElector("optioned://", "e", password="hunter2"),
        lambda: LeaderElector.from_config(
            {"url": "optioned://", "election": "e", "password": "hunter2"}
        ),
    ]
    for make in ways:
        with pytest.raises(ConfigurationError, match=r"password=\*\*\*") as caught:
            make()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("store", [5, b"memory://", ["memory://"], object()])
def test_a_store_that_is_none_is_refused(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="a store URL must be a str, not"):
        LeaderElector(store, "e")
    with pytest.raises(ConfigurationError, match="a store URL must be a str, not"):
        connect(store)


def test_without_a_store_or_an_election_it_says_which_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="no store given.*LEADERLOCK_URL"):
        connect()
    with pytest.raises(ConfigurationError, match="no store given"):
        LeaderElector.from_env()
    with pytest.raises(ConfigurationError, match="no election given"):
        LeaderElector("memory://")
    with pytest.raises(ConfigurationError, match="no election given"):
        LeaderElector(connect("memory://"))
    with pytest.raises(UnknownBackend):
        connect("nowhere://")


@pytest.mark.parametrize(
    "election", ["a", "x" * 255, "€ 🦊", "../../etc", "a/b", "a\0b", "%2F", "'; drop", " ", "*"]
)
def test_any_text_names_an_election_of_its_own(election: str) -> None:
    client = connect("memory://names?ttl=3")
    with (
        client.elector(election).lead(timeout=20),
        client.elector("another").lead(timeout=20),
    ):
        pass
    client.close()


def test_what_a_config_shows_has_no_secrets() -> None:
    client = connect("memory://name?ttl=5")
    assert repr(client) == "<leaderlock.Client memory://name?ttl=5>"
    elector = client.elector("e", candidate_id="me")
    assert repr(elector) == "<LeaderElector 'me' for 'e' at memory://name?ttl=5: idle>"
    assert isinstance(client, Client)


def test_metadata_is_copied_and_cannot_be_changed_afterwards() -> None:
    given = {"host": "a"}
    config = resolve({"url": "memory://", "election": "e", "metadata": given})
    given["host"] = "b"
    assert config.metadata == {"host": "a"}
    with pytest.raises(TypeError):
        config.metadata["host"] = "c"  # type: ignore[index]
