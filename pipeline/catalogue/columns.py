"""Which columns of a file are a product's title, content and uid: chosen by a person, or recognised by their names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.catalogue.cleaning import clean, pairs_of, unpacked
from pipeline.errors import ColumnsError

SHOPIFY, WOOCOMMERCE, MAGENTO, PRESTASHOP = (
    "Shopify export",
    "WooCommerce export",
    "Magento export",
    "PrestaShop export",
)

TITLES = ("title", "name", "product name", "product title", "item name", "item title", "product")
CONTENTS = (
    "content",
    "short description",
    "description",
    "product description",
    "long description",
    "item description",
    "body html",
    "body",
    "text",
    "features",
    "feature",
    "about product",
    "about this item",
    "bullet points",
    "details",
)
UIDS = ("uid", "id", "sku", "product id", "item id", "handle", "asin", "parent asin", "isbn", "ean", "gtin")
ATTRIBUTES = frozenset(
    re.findall(
        r"[^,]+",
        "age,age group,age range,artist,assembly,attributes,author,brand,capacity,care,care instructions,color,colour,colors,"
        "colours,composition,connectivity,country,country of origin,cut,depth,diameter,dimensions,director,edition,"
        "energy efficiency class,fabric,finish,fit,flavor,flavour,format,gender,genre,height,illustrator,ingredients,isbn,"
        "language,length,made in,manufacturer,material,materials,model,model number,number of pages,options,package size,pages,"
        "pattern,pieces,power,price,product dimensions,product height,product length,product weight,product width,"
        "publication date,publication year,publisher,runtime,running time,sale price,scent,season,shade,shape,size,sizes,"
        "specifications,specs,style,target audience,technical details,thickness,vendor,voltage,volume,warranty,wattage,weight,"
        "width,year,farbe,größe,grösse,gewicht,maße,abmessungen,herkunftsland,autor,verlag,sprache,seitenzahl,preis,couleur,"
        "taille,poids,matière,matériau,auteur,éditeur,langue,prix,tamaño,talla,peso,autore,colore,taglia,materiale,prezzo,"
        "editorial,idioma,precio,cor,kleur,maat,materiaal,prijs,цвет,размер,вес,материал,автор,цена,颜色,尺寸,材质,重量,作者,"
        "出版社,价格,色,サイズ,素材,价钱",
    )
)
"""Columns that say something of a product under their own name."""
_MEASURES = frozenset(
    re.findall(r"\w+", "capacity depth diameter height length power thickness voltage volume wattage weight width")
)
_OF_A_PART = _MEASURES | frozenset(
    re.findall(
        r"\w+", "material materials colour color fabric finish size pattern style type origin language compatibility"
    )
)
"""What a column's last word may be: "Frame material", "Seat height", "Bulb type"."""
_NOT_ITS_OWN = frozenset(
    re.findall(
        r"\w+",
        "package packaging parcel shipping carton box image picture photo file product post tax variant item listing attribute "
        "option meta template content mime page stock source record user customer google document event schema data backorder",
    )
)
"""First words of columns that say something of a parcel, a picture or the shop's own books."""
_WOOCOMMERCE = frozenset(
    ("Type", "SKU", "Published", "Short description", "Description", "Regular price", "Sale price", "Categories", "Tags",
     "Images", "Tax status", "In stock?", "Is featured?", "Visibility in catalog", "Attribute 1 name", "Parent", "Position")
)  # fmt: skip
_PREFIX = re.compile(
    r"(?:attributes?|attr|specs?|specifications?|features?|pa) ?[:._] ?"
    r"(?!(?:set|code|group|ids?|names?|values?|visible|global|default|position)(?![^\W_]))(?=[^\W\d])",
    re.IGNORECASE,
)
"""`attribute:wood`, `attr_finish`, `pa_color`: whatever follows is a product's attribute."""
_AGAIN = re.compile(r" \(column \d+\)$")
_UNIT = re.compile(r"(?<!\s)\s*[\[(]\s*([^\W\d][\w.²³/]{0,5})\s*[\])]$")


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns, or of its rows' fields where it is JSON."""

    title: str
    content: tuple[str, ...]
    """Their texts follow one another; none where a product has attributes alone."""
    uid: str | None = None
    """None: the number of the row is its uid."""
    export: str = ""
    """The shop system whose export it is: several of its rows are one product, and more columns say something."""
    attributes: tuple[str, ...] = ()
    """Columns that are told as "Name: value."."""

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Columns":
        """From what `asdict` gave once it has been JSON.

        Raises:
            KeyError, TypeError: it is something else.
        """
        content, attributes = tuple(kept["content"]), tuple(kept.get("attributes", ()))
        if not content and not attributes:
            raise KeyError("content")
        rest = {name: value for name, value in kept.items() if name not in ("content", "attributes")}
        return cls(content=content, attributes=attributes, **rest)


PLAIN = Columns("title", ("content",), "uid")
"""The names that this project's own catalogue has, and AmazonTitles-1.3MM's."""


def guess_columns(headers: Sequence[str]) -> Columns | None:
    """The columns by their names, or None where title or content is not to be recognised."""
    if export := _export(headers):
        return export
    told = tuple(filter(_is_attribute, headers))
    if {"title", "content"} <= set(headers):
        return replace(PLAIN, attributes=told)
    by_name = {_plain(header): header for header in reversed(headers)}
    title, uid = (next((by_name[n] for n in names if n in by_name), None) for names in (TITLES, UIDS))
    contents = tuple(header for name in CONTENTS for header in headers if _plain(_AGAIN.sub("", header)) == name)
    told = tuple(name for name in told if name not in (title, *contents, uid))
    if not title or not (contents or told):
        return None
    return Columns(title, contents, uid, attributes=told)


def with_attributes(columns: Columns, headers: Sequence[str]) -> Columns:
    """Columns that a person chose, with those that say something of a product under their own name."""
    told = tuple(name for name in headers if _is_attribute(name) and name not in (columns.title, columns.uid))
    contents = tuple(name for name in columns.content if name not in told)
    return columns if columns.export else replace(columns, content=contents, attributes=told)


def _is_attribute(header: str) -> bool:
    """Whether a column says something of a product: by its whole name, or by what it is a name of ("Frame material")."""
    if _PREFIX.match(header):
        return True
    name = _plain(_UNIT.sub("", header))
    words = name.split()
    return name in ATTRIBUTES or (1 < len(words) <= 4 and words[-1] in _OF_A_PART and words[0] not in _NOT_ITS_OWN)


def _export(headers: Sequence[str]) -> Columns | None:
    """The columns of a shop system's export, as it is recognised by names that only it has."""
    names = set(headers)
    if {"Handle", "Title", "Body (HTML)"} <= names:
        return Columns("Title", ("Body (HTML)",), "Handle", SHOPIFY)
    if {"sku", "name"} <= names and names & {"store_view_code", "additional_attributes", "attribute_set_code"}:
        contents = tuple(name for name in ("short_description", "description") if name in names)
        return Columns("name", contents, "sku", MAGENTO) if contents else None
    contents = tuple(name for name in ("Short description", "Description") if name in names)
    if contents and "Name" in names and len(names & _WOOCOMMERCE) >= 3:
        return Columns("Name", contents, next((n for n in ("ID", "SKU") if n in names), None), WOOCOMMERCE)
    if any(_plain(name).startswith(("feature name value", "features name value")) for name in headers):
        by_name = {_plain(header): header for header in reversed(headers)}
        contents = tuple(by_name[n] for n in ("short description", "summary", "description") if n in by_name)
        if "name" in by_name and contents:
            uid = next((by_name[n] for n in ("product id", "id", "reference") if n in by_name), None)
            return Columns(by_name["name"], contents, uid, PRESTASHOP)
    return None


def named_values(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """What the row's attribute columns say: of `weight (kg)` the values have the unit."""
    told: dict[str, Any] = {}
    for name in columns.attributes:
        value, unit = row.get(name), _UNIT.search(name)
        label = _UNIT.sub("", name) if unit else name
        if pairs := pairs_of(unpacked(value)):
            told |= {label_of(str(key)): one for key, one in pairs}
        elif isinstance(value, bool) or not (unit or not _is_bare(label, value)):
            continue  # a measure without a unit says nothing that a customer could use
        else:
            text = f"{value} {unit[1]}" if unit and str(value or "").strip()[-1:].isdigit() else value
            told[label_of(label)] = text
    return told


def label_of(column: str) -> str:
    """`age_group` → `Age group`; a name that is words already stays."""
    words = re.sub(r"[\s_]+", " ", _PREFIX.sub("", column.removeprefix("g:"), count=1)).strip()
    return words[:1].upper() + words[1:]


def _is_bare(label: str, value: Any) -> bool:
    return not _MEASURES.isdisjoint(_plain(label).split()) and bool(re.fullmatch(r"\s*[\d.,]+\s*", str(value or "0")))


def check_columns(name: str, columns: Columns, headers: Iterable[str], kind: str = "column") -> None:
    """Refuse columns of which title or content are not there.

    Raises:
        ColumnsError: the title is missing, or all contents are.
    """
    found = list(headers)
    missing = [] if columns.title in found else [columns.title]
    missing += [] if set(columns.content) & set(found) else columns.content
    if missing:
        raise ColumnsError(
            f"{name} has no {kind} named {_joined(missing, ' or ')} (its {kind}s are {_joined(found[:6], ', ')}); "
            "say which are its title and its content, or rename them.",
            found,
        )


def unknown_columns(name: str, headers: Sequence[str]) -> ColumnsError:
    """What to raise where nothing can be guessed."""
    found = _joined(headers[:12], ", ")
    names = set(map(_plain, headers))
    lacking = [what for what, known in (("title", TITLES), ("description", CONTENTS)) if names.isdisjoint(known)]
    lacks = f"; by their names none can be a {' or a '.join(lacking)}" if lacking else ""
    return ColumnsError(
        f"{name} has the columns {found}; choose which is the title and which the description{lacks}.", headers
    )


def _joined(names: Sequence[str], joint: str) -> str:
    return clean(joint.join(names))[:200]


def _plain(header: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", header.casefold()))
