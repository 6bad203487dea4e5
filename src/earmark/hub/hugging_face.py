"""Models on the Hugging Face Hub: addresses, downloads and uploads; only this module imports huggingface_hub."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from earmark.errors import CheckpointError, ConfigError
from earmark.storage.remote import url_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CHECKPOINT: Final = "model.safetensors"
"""Name of a checkpoint in a repository."""
EXPORTED: Final = "model.onnx"
"""Name of an exported network in a repository."""
_READ: Final = (".safetensors", ".onnx")
"""Suffixes of the files that are read; others may hold code."""
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_ADDRESS: Final = re.compile(rf"hf://({_REPOSITORY.pattern})(?:@([^/@]+))?(?:/(.+))?", re.ASCII)
_TIMEOUT: Final = 10.0
"""Seconds to wait for the Hub's first answer."""
_SERVER_FAILS: Final = 500
"""Status from which an answer is a failure of the server, not of the request."""
_FORM: Final = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/FILE"


@dataclass(frozen=True)
class HubAddress:
    """A model on the Hub."""

    repository: str
    """OWNER/NAME."""
    revision: str | None = None
    """Branch, tag or commit; None: the main branch."""
    file: str | None = None
    """File in the repository; None: the one that `push` writes."""


def address_of(name: str | os.PathLike[str]) -> HubAddress | None:
    """The parts of an address on the Hub; None if the text is no such address.

    >>> address_of("hf://anna/birds@v2/small/model.onnx")
    HubAddress(repository='anna/birds', revision='v2', file='small/model.onnx')
    >>> address_of("birds.onnx")

    Raises:
        CheckpointError: The address is incomplete, or its file is of a kind that is not read.
    """
    text = os.fspath(name)
    url = url_of(text) or text  # only a text with something after the slashes is a URL
    if not url.startswith("hf:") or Path(text).exists():
        return None
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise CheckpointError(f"{url}: {_FORM} was expected")
    repository, revision, file = found.groups()
    if file is not None and (not file.endswith(_READ) or ".." in file.split("/")):
        raise CheckpointError(f"{url}: a {' or '.join(_READ)} file was expected; others may hold code and are not read")
    return HubAddress(repository, None if revision is None else unquote(revision), file)


def check_repository(repository: str) -> None:
    """Checks the name of a repository.

    Raises:
        ConfigError: It is not OWNER/NAME.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigError(f"{repository}: the name of a repository, OWNER/NAME, was expected")


def fetch(address: HubAddress, names: Sequence[str]) -> Path:
    """The path of a model's file in the cache of huggingface_hub; downloads it if the Hub has another version.

    Without a network, the version in the cache is taken.

    Args:
        address: The model.
        names: Files to look for where the address names none; the first that the repository has is taken.

    Raises:
        CheckpointError: There is no such file, or it is neither reachable nor in the cache.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    shown, wanted = _shown(address), names if address.file is None else [address.file]
    with _hub_errors(shown, "downloaded") as api:
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            # first, because it fails at once without a network; a download is tried for half a minute
            info = api.model_info(address.repository, revision=address.revision, timeout=_TIMEOUT)
        except Exception as error:  # errors of the connection come from whichever HTTP library the version uses
            if isinstance(error, HfHubHTTPError) and error.response.status_code < _SERVER_FAILS:
                raise
            for name in wanted:
                with suppress(LocalEntryNotFoundError):
                    cached = api.hf_hub_download(
                        address.repository, name, revision=address.revision, local_files_only=True
                    )
                    return Path(cached)
            raise CheckpointError(
                f"{shown}: the Hub cannot be reached ({_first_line(error)}) and the model is not in the cache; try "
                "again with a network, or give the path of a copy"
            ) from error
        files = [sibling.rfilename for sibling in info.siblings or ()]
        there = [name for name in wanted if name in files]
        if not there:
            others = ", ".join(name for name in files if name.endswith(_READ))
            hint = f"it has {others}: name one as hf://OWNER/NAME/FILE" if others else "it has no model of earmark"
            raise CheckpointError(f"{shown}: {' or '.join(wanted)} was expected in this repository; {hint}")
        return Path(api.hf_hub_download(address.repository, there[0], revision=address.revision))


def upload(folder: Path, repository: str, *, revision: str | None = None, private: bool = False) -> str:
    """Uploads the files of a folder as one commit and returns the URL of the repository, which is made if needed.

    Args:
        folder: The folder.
        repository: OWNER/NAME.
        revision: Branch, made if needed; the main branch when missing.
        private: Make the repository private.

    Raises:
        ConfigError: The name is invalid, or the repository exists and is public where `private` was asked for.
        CheckpointError: The upload fails.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    check_repository(repository)
    with _hub_errors(repository, "uploaded") as api:
        from huggingface_hub import get_token

        if get_token() is None:
            raise CheckpointError(f"{repository}: an upload needs a login: `hf auth login` or HF_TOKEN")
        url = api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository).private:  # an existing repository keeps its visibility
            raise ConfigError(f"{repository} exists and is public; make it private on the Hub, or name another one")
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        message = "Upload model and card by earmark"
        api.upload_folder(repo_id=repository, folder_path=folder, revision=revision, commit_message=message)
    return str(url)


def _shown(address: HubAddress) -> str:
    revision = "" if address.revision is None else f"@{address.revision}"
    return f"hf://{address.repository}{revision}" + ("" if address.file is None else f"/{address.file}")


@contextmanager
def _hub_errors(subject: str, failed: str) -> Iterator["HfApi"]:
    """The Hub's interface; its errors become one line."""
    # huggingface_hub reads it when it is imported: no usage statistics
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import disable_progress_bars, logging

    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield HfApi(library_name="earmark")
    except (CheckpointError, ConfigError):
        raise
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{subject}: no such repository, or it is private; `hf auth login` or HF_TOKEN logs in"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{subject}: this repository has no such revision") from error
    except Exception as error:
        raise CheckpointError(f"{subject}: cannot be {failed} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
