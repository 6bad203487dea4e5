import sys
from pathlib import Path

import pytest

from earmark.storage.cache_folder import PublishedFile, cache_folder, cached_path


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.cache/earmark"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/earmark"),
        ("linux", {"XDG_CACHE_HOME": "xdg", "EARMARK_CACHE": "mine"}, "mine"),
        ("darwin", {}, "home/Library/Caches/earmark"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/earmark/Cache"),
    ],
)
def test_the_cache_folder_follows_the_system_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    for name in ("XDG_CACHE_HOME", "EARMARK_CACHE", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "home", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path(folder)


def test_a_published_file_has_its_name_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path))
    assert cached_path(PublishedFile("https://example.org/a?download=1", "a.pth")) == tmp_path / "a.pth"
