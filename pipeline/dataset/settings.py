"""What the user chooses for a dataset."""

from dataclasses import dataclass

from pipeline.errors import SettingsError

TEMPLATES = "templates"
TEMPLATE_PHRASINGS = 12
"""The templates have no more ways to ask for a fact."""


@dataclass(frozen=True)
class DatasetSettings:
    """What the user chooses in the first tab."""

    products: int = 15
    """How many products to teach."""
    phrasings: int = 12
    """Training questions a fact."""
    unknown_per_product: float = 3.0
    """Unknown titles to refuse, for each product taught."""
    reading: bool = False
    """Whether the prompt holds the record (the model reads) or the title alone (the model must know)."""
    generator: str = TEMPLATES
    """Where the questions come from: `templates`, or an API's model and its address."""
    judge: bool = False
    """Whether the API checks its own rows against the record in a third call."""
    seed: int = 0
    general_share: float = 0.33
    """Rows of general knowledge, for each row about products: they keep what the model knew before."""

    open_book: float = 0.0
    """Rows that teach to read a part of a record, for each row about products; none in reading mode, where every row does.
    They cost a small model some of what it knows by heart (benchmarks/RESULTS.md)."""

    def __post_init__(self) -> None:
        limits = {
            "products": (1, 100_000),
            "phrasings": (1, 40),
            "unknown_per_product": (0, 10),
            "general_share": (0, 1),
            "open_book": (0, 1),
        }
        for name in limits:
            if not isinstance(value := getattr(self, name), int | float):
                raise SettingsError(f"{name} is {str(value)[:40]!r}; it must be a number.")
        # 3 and 3.0 are one setting and must have one fingerprint.
        for name in ("unknown_per_product", "general_share", "open_book"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be between {low} and {high}.")
