"""A base model by name: where its files are, whether they fit into the memory, and their checksum.

Torch is imported where a GPU has to be asked, so the command line can refuse a wrong name before it does anything else.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import ModelError, disk_problem, is_unreached
from pipeline.files import models_dir, read_json, write_json
from pipeline.machine import on_zero_gpu
from pipeline.models.embedded import EMBEDDED, HUB_TWIN, converted_folder, is_installed
from pipeline.models.encoder import ENCODER, checked_folder, wheel_folder
from pipeline.models.gpu import has_gpu, is_quantised, loads_in_4bit

SAFELY: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True}
"""How every model is loaded: neither its own code nor a pickle is ever run. Said, not left open, since Transformers would ask
on the terminal."""

LARGEST_CONFIG = 10_000_000
"""Bytes of a `config.json`; whole dictionaries of labels are smaller, and what is larger would fill the memory as it is read."""

HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)

_ADDRESS = re.compile(
    r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)([^?#\s]+)(?:[?#]\S*)?", re.IGNORECASE
)
_OF_A_REVISION = ("tree", "blob", "resolve")

_TWINS = {EMBEDDED: HUB_TWIN, ENCODER: f"sentence-transformers/{ENCODER}"}
"""Bases that come with the installation, as the Hub calls them."""

SEQ2SEQ = frozenset({"t5", "mt5"})
"""Families, by `model_type`, that read a prompt in an encoder and answer in a decoder; others of that build were not tried."""

_FILES: dict[str, Any] = {
    "allow_patterns": ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"],
    "ignore_patterns": ["consolidated*", "original/*", "*/*.safetensors"],
}
"""What is fetched of a base: one format of its weights, and what lies beside them."""


def typed_base(text: str) -> str:
    """A base model's name as it was typed or pasted: without spaces around it, and of a Hub address the id in it."""
    name = text.strip()
    address = _ADDRESS.fullmatch(name)
    if not address:
        return name
    first, *rest = [part for part in address[1].split("/") if part] or [""]
    if first in ("datasets", "spaces") or not first:
        return name
    model, rest = (first, rest) if not rest or rest[0] in _OF_A_REVISION else (f"{first}/{rest[0]}", rest[1:])
    revision = rest[1] if len(rest) > 1 and rest[0] in _OF_A_REVISION else "main"
    return model if revision == "main" else f"{model}@{revision}"


Fetched = Callable[[int, int], None]
"""Told how many bytes of a download are here, and of how many."""


def find_base(name: str, fetched: Fetched | None = None) -> Path:
    """The local folder of a base model, converted or downloaded when it is not there yet.

    Args:
        fetched: told how a download goes on, by any thread; None shows a bar where somebody sees it.

    Raises:
        ModelError: one sentence for an unknown name, an unreachable hub, a gated model, or a folder without weights.
    """
    name = typed_base(name)
    if name == ENCODER:
        return checked_folder()
    if name == EMBEDDED:
        if is_installed():
            return converted_folder()
        name = HUB_TWIN
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):  # unlike Path's, false for a name that no file can have
        return _with_weights(name, path)
    if is_path(name):
        raise ModelError(f"There is no folder {name}; give a local model's folder or a Hugging Face Hub id.")
    model, at, revision = name.partition("@")
    if at:
        raise ModelError(
            f"{name} asks for the revision {revision or '(none)'}, and revisions are not supported; give {model or 'an id'} "
            "alone, or download that revision and give its folder."
        )
    return _with_weights(name, _download(name, fetched))


def is_path(name: str) -> bool:
    """Whether a name is a folder's and no id on the Hub, be there such a folder or not."""
    return name.startswith((".", "~")) or Path(name).is_absolute()


def local_folder(name: str) -> Path | None:
    """Where a base model lies on this machine, or None where it would have to be converted or downloaded first."""
    name = typed_base(name)
    if name == ENCODER:
        return wheel_folder()
    if name == EMBEDDED:
        if (models_dir() / EMBEDDED).is_dir():
            return models_dir() / EMBEDDED
        name = HUB_TWIN
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        return path if _has_weights(path) else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with suppress(HFValidationError):  # a name that no model can have
        config = try_to_load_from_cache(name, "config.json")
        if isinstance(config, str) and _has_weights(Path(config).parent):
            return Path(config).parent
    return None


def public_name(name: str) -> str:
    """A base model's name for others: its id on the Hub, or the last part of a folder's name, never a path of this machine."""
    if name in _TWINS:
        return _TWINS[name]
    path = os.path.expanduser(name)
    is_local = os.path.isdir(path) or name.startswith((".", "~"))
    if HUB_ID.fullmatch(name) and not is_local:
        return name
    return (os.path.realpath(path) if is_local else path).rstrip("/").rpartition("/")[2]


def _with_weights(name: str, folder: Path) -> Path:
    if not _has_weights(folder):
        raise ModelError(f"{name} holds no model in safetensors format; choose another model or folder.")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """A model's own weights, in name order: of several formats the one that Transformers reads."""
    return [file for file in sorted(folder.glob("*.safetensors")) if _is_read(file.name)]


def _is_read(name: str) -> bool:
    """Whether a file holds weights that Transformers would read. Mistral's repositories hold them all a second time, in that
    company's own format, and Llama's in a folder of its own."""
    return name.endswith(".safetensors") and "/" not in name and not name.startswith("consolidated")


def _has_weights(folder: Path) -> bool:
    config = folder / "config.json"
    is_one = config.is_file() and config.stat().st_size <= LARGEST_CONFIG
    return is_one and bool(weight_files(folder))


def _telling(fetched: Fetched, total: int) -> type:
    """The class of the library's progress bars that tells how many bytes are on the disk and shows nothing."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.is_of_bytes, self.here = options.get("name") == "huggingface_hub.snapshot_download", 0
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            if self.is_of_bytes:
                self.here += int(n or 0)
                fetched(min(self.here, total), total)

    return Bar


def _download(name: str, fetched: Fetched | None) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        with suppress(LocalEntryNotFoundError):
            kept = Path(snapshot_download(name, local_files_only=True, **_FILES))
            if _has_weights(kept):  # another program may have fetched the tokenizer alone
                return kept
        info = HfApi().model_info(name, files_metadata=True, timeout=20)
        weights = sum(f.size or 0 for f in info.siblings or [] if _is_read(f.rfilename))
        has_config = any(f.rfilename == "config.json" for f in info.siblings or [])
        growth = _least_growth(read_json(Path(hf_hub_download(name, "config.json")))) if has_config else 1
        _check_fits(name, int(weights * growth))
        bar = {"tqdm_class": _telling(fetched, weights)} if fetched and weights else {}
        return Path(snapshot_download(name, **bar, **_FILES))
    except ModelError:
        raise
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is gated: accept its terms on its Hugging Face page and set HF_TOKEN, or choose another model."
        ) from error
    except HFValidationError as error:
        raise ModelError(
            f"{name!r} is no folder here, and no model of the Hugging Face Hub can have that id, which looks like "
            "organisation/model; check the spelling."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model named {name!r} that the Hugging Face Hub would show, nor a folder of that name; check the "
            "spelling, or set HF_TOKEN if it is private."
        ) from error
    except Exception as error:  # the hub's errors, those of the client under it, and the disk's
        if said := disk_problem(error):
            raise ModelError(said) from error
        raise ModelError(
            f"{name} is not on this machine and {_unreached(error)}; give a local folder, or use {EMBEDDED}."
        ) from error


def _unreached(error: Exception) -> str:
    """What was seen of the Hub, as a clause that says what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"the Hugging Face Hub answered with an error ({status}); try again later"
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "the Hugging Face Hub was not asked, since HF_HUB_OFFLINE is set; unset it"
    if is_unreached(error):
        return f"the Hugging Face Hub cannot be reached ({type(error).__name__}); check the connection"
    return f"what the Hugging Face Hub answered is not understood ({type(error).__name__}); check the connection"


def _least_growth(config: dict[str, Any]) -> float:
    """How many bytes in memory a byte of a base's weight files becomes at least, by its `config.json`."""
    from pipeline.models.language_model import native_dtype

    if is_quantised(config):
        return 1
    if loads_in_4bit(gpu=has_gpu()) and config.get("model_type") not in SEQ2SEQ and not _has_experts(config):
        return 0.8 / _stored(config)  # with the embedding, which stays in 16 bits
    return native_dtype().itemsize / _stored(config)


def _has_experts(config: dict[str, Any]) -> bool:
    """Whether it is a mixture of experts, of which most of the weights stay in 16 bits."""
    text = config.get("text_config") or config
    return any(text.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts"))


def _stored(config: dict[str, Any]) -> int:
    """Bytes a weight in a base's files, where they are not in 4 bits."""
    return 4 if (config.get("dtype") or config.get("torch_dtype")) == "float32" else 2


def check_memory(name: str, folder: Path, weights: int | None, bytes_per_weight: int) -> None:
    """Refuse a model that the memory has no room for.

    Args:
        weights: bytes that they take once they are loaded; None where the base's shape is not known.
        bytes_per_weight: of the number format that they are loaded in.

    Raises:
        ModelError: they do not fit.
    """
    if weights is None:
        stored = sum(f.stat().st_size for f in weight_files(folder))
        weights = int(stored * bytes_per_weight / _stored(read_json(folder / "config.json")))
    _check_fits(name, weights)


def check_layers(name: str, folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model that says it has more layers than there are weights for: all of them would be built first.

    Raises:
        ModelError: it does.
        Exception: safetensors' own, for files that are none.
    """
    from safetensors import safe_open

    said = [n for part in (config, config.get("text_config")) if isinstance(part, dict) for n in map(part.get, _LAYERS)]
    most = max((n for n in said if isinstance(n, int)), default=0)
    if most <= _FEW_LAYERS:
        return
    weights = 0
    for file in weight_files(folder):
        with safe_open(file, "pt") as opened:
            weights += len(opened.keys())
    if most > weights:
        raise ModelError(f"{name} says it has {most:,} layers and holds {weights:,} weights; choose another model.")


_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
_FEW_LAYERS = 200


def _check_fits(name: str, weights: int) -> None:
    """Refuse a model whose weights alone (bytes) are more than the free memory of its device."""
    import torch

    if not torch.cuda.is_available():
        free = psutil.virtual_memory().available
    elif on_zero_gpu():  # the app asks before there is a GPU; the one that will be lent is wholly free
        free = torch.cuda.get_device_properties(0).total_memory
    else:
        free = torch.cuda.mem_get_info()[0]
    if weights * 1.1 > free:
        raise ModelError(
            f"{name} needs about {weights * 1.1 / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; "
            "choose a smaller base model."
        )


def checksum(folder: Path) -> str:
    """SHA-256 of a model's weights (of the files' digests in name order where there are several), remembered."""
    files = weight_files(folder)
    stamp = [[f.name, f.stat().st_size, int(f.stat().st_mtime)] for f in files]
    memory = folder / "checksum.json"
    try:
        known = read_json(memory)
        if known["files"] == stamp:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digests = [_file_sha256(f) for f in files]
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    with suppress(OSError):  # a read-only model folder: computed again next time
        write_json(memory, {"files": stamp, "sha256": sha256})
    return sha256


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


GPU_BASE = "unsloth/llama-3-8b-bnb-4bit"
"""The default base model where there is an NVIDIA GPU."""
