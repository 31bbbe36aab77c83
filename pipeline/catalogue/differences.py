"""What a newer catalogue has otherwise than an older one: products that are new, gone, or have another record."""

from dataclasses import dataclass

import duckdb

from pipeline.catalogue.build import CONTENTS, PRODUCTS, database, files
from pipeline.catalogue.catalogue import Catalogue
from pipeline.errors import CatalogueError


@dataclass(frozen=True)
class Differences:
    """Numbers of products."""

    new: int
    gone: int
    changed: int


def have_uids(one: Catalogue, other: Catalogue) -> bool:
    """Whether products of both are the same by their uids: a line's number says nothing of another file's line."""
    return one.has_uids and other.has_uids


def differences(old: Catalogue, new: Catalogue) -> Differences:
    """Compare two catalogues, product by product: by uids where both have some, else by titles.

    Raises:
        CatalogueError: a prepared copy was damaged or removed meanwhile.
    """
    key = "uid" if have_uids(old, new) else "key"
    told = (
        f"SELECT {key} AS name, bit_xor(hash(title, content, attributes)) AS said FROM read_parquet($%s_heads) "
        f"JOIN read_parquet($%s_said) USING (line) GROUP BY {key}"
    )
    query = (
        f"WITH old AS ({told % ('old', 'old')}), new AS ({told % ('new', 'new')}) SELECT "
        "count(*) FILTER (old.name IS NULL), count(*) FILTER (new.name IS NULL), count(*) FILTER (old.said <> new.said) "
        "FROM old FULL JOIN new ON old.name = new.name"
    )
    values = {}
    for name, catalogue in (("old", old), ("new", new)):
        values[f"{name}_heads"] = str(catalogue.folder / PRODUCTS)
        values[f"{name}_said"] = files(catalogue.folder / CONTENTS)
    try:
        with database(new.folder.parent) as connection:
            counted = connection.execute(query, values).fetchall()[0]
    except duckdb.Error as error:
        raise CatalogueError(f"{old.name} and {new.name} cannot be compared; open both again.") from error
    return Differences(*counted)
