"""Many questions by several ways, as the command and the page's API give them out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.answering.asker import RunModel
from pipeline.answering.customers import CustomerQuestion
from pipeline.answering.shop import missing_catalogue, shop_of
from pipeline.answering.ways import BY_MODEL, CLOSED, WAYS, answer_all
from pipeline.errors import QuestionError
from pipeline.runs.folder import run_dataset, run_family

TOLD_EVERY = 1000

Say = Callable[[str], object]


def named_ways(run: Path, names: str, say: Say) -> list[str]:
    """The ways that somebody names, with commas between them, without what a run does not have.

    Args:
        say: told what is left out, in a sentence.

    Raises:
        QuestionError: there is no such way.
    """
    ways = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    wrong = [name for name in ways if name not in WAYS]
    if wrong or not ways:
        raise QuestionError(f"There is no way {wrong[0][:40] if wrong else 'named'}; choose of {', '.join(WAYS)}.")
    if CLOSED in ways and not run_family(run).by_heart:
        say("A reader knows nothing by heart, so there is no closed book.")
        ways.remove(CLOSED)
    return ways


def need_model(ways: Sequence[str]) -> bool:
    return any(way in BY_MODEL for way in ways)


def judged(
    run: Path,
    items: Sequence[CustomerQuestion],
    ways: Sequence[str],
    language_model: Callable[[], RunModel],
    say: Say,
) -> list[dict[str, Any]]:
    """What each way answers to each question.

    Args:
        language_model: gives the run's, where a way needs it.
        say: told of what is not at hand, and how far it is, in sentences.

    Returns:
        `question`, `title` and `ways` (`raw`, `answer` and `says` by name) of each, in their order.
    """
    dataset = run_dataset(run)
    if missing := missing_catalogue(dataset):
        say(missing)
    shop = shop_of(dataset)
    if shop.sentences.encoder is None:
        say(
            "The sentence encoder is not at hand, so words alone decide which sentence answers; `make run` installs it."
        )
    asked = []
    for number, item in enumerate(items, start=1):
        asked.append(shop.about(item.question, item.title, item.uid))
        if number % TOLD_EVERY == 0:
            say(f"The products of {number:,} of {len(items):,} questions are found.")
    model = language_model() if need_model(ways) else None
    answers = answer_all(shop, asked, ways, model, dataset.kinds)
    return [
        {
            "question": item.question,
            "title": about.product.title if about.product else item.title,
            "ways": {name: said.as_dict() for name, said in mine.items()},
        }
        for item, about, mine in zip(items, asked, answers, strict=True)
    ]
