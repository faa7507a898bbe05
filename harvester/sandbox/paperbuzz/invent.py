"""Invented bibliographic texts: titles, people, abstracts, reference lists. Nothing is copied from anywhere.

A pool of parts is made once for each seed. A record takes slices of it, and so costs a fraction of a millisecond.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

_SUBJECTS = [
    "Urban soundscapes",
    "Tidal marshes",
    "Medieval ledgers",
    "Reading groups",
    "Glacial lakes",
    "Citizen archives",
    "Pollinator networks",
    "Slow sensors",
    "Open monographs",
    "River deltas",
    "Lichen colonies",
    "Public choirs",
    "Night trains",
    "Peat cores",
    "Harbour towns",
    "Sign languages",
    "Wind gardens",
    "Household budgets",
    "Coral nurseries",
    "Street markets",
]
_RELATIONS = [
    "as a measure of",
    "in the making of",
    "and the limits of",
    "under the pressure of",
    "before and after",
    "as witnesses to",
    "in comparison with",
    "without",
    "and their place in",
    "seen through",
]
_OBJECTS = [
    "regional memory",
    "seasonal drought",
    "scholarly attention",
    "informal learning",
    "coastal planning",
    "shared infrastructure",
    "long-term change",
    "small samples",
    "everyday arithmetic",
    "collective care",
    "early printing",
    "changing diets",
    "soil carbon",
    "language contact",
    "migration routes",
]
_OPENINGS = [
    "We describe",
    "This study follows",
    "Little is known about",
    "We compare",
    "The present work revisits",
    "Drawing on field notes we trace",
    "Over eleven seasons we measured",
    "Here we report on",
    "Using a mixed design we examine",
]
_ENDINGS = [
    "and find a modest but steady effect.",
    "which earlier surveys had missed.",
    "with implications for how such data are kept.",
    "although the samples remain small.",
    "in contrast to common opinion.",
    "and discuss what follows for practice.",
    "at a scale that was not feasible before.",
    "and make all material available.",
]
_GIVEN = [
    "Ada",
    "Ben",
    "Chidi",
    "Dora",
    "Emre",
    "Fatou",
    "Gita",
    "Hugo",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
    "Noor",
    "Otto",
    "Pilar",
    "Quinn",
    "Rosa",
    "Sven",
    "Zoë",
]
_FAMILY = [
    "Abara",
    "Brandt",
    "Castellanos",
    "Dvořák",
    "Eriksen",
    "Fontaine",
    "Grünwald",
    "Haddad",
    "Ibarra",
    "Jansen",
    "Kowalczyk",
    "Lindqvist",
    "Marchetti",
    "Nakagawa",
    "Okafor",
    "Petrova",
    "Quispe",
    "Rasmussen",
    "Søndergaard",
    "Tanaka",
    "Ueda",
    "Varga",
    "Weaver",
    "Yılmaz",
    "Zimmer",
]
_PLACES = [
    "Northmere",
    "Port Almeida",
    "Sankt Veit",
    "Lakeside",
    "Alder Bay",
    "Nova Dorna",
    "Westhaven",
    "Kirkby Sound",
]
_JOURNALS = [
    "Annals of Invented Studies",
    "Journal of Quiet Data",
    "Imaginary Geographies",
    "Review of Small Samples",
    "Proceedings of the Sandbox",
    "Letters in Fictional Ecology",
    "Made-up Monographs",
    "The Placeholder Quarterly",
]
_PUBLISHERS = ["Invented University Press", "Sandbox Open Publishing", "Example Scholarly Society"]

POOL = 400
"""How many parts of each kind there are."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Parts from which records are put together."""

    titles: tuple[str, ...]
    sentences: tuple[str, ...]
    people: tuple[dict[str, object], ...]
    references: tuple[dict[str, str], ...]
    journals: tuple[str, ...] = tuple(_JOURNALS)
    publishers: tuple[str, ...] = tuple(_PUBLISHERS)


@lru_cache(maxsize=8)
def pool(seed: int) -> Pool:
    """The pool of one seed."""
    rng = random.Random(f"pool {seed}")
    people = tuple(_person(rng) for _ in range(POOL))
    return Pool(
        titles=tuple(_title(rng) for _ in range(POOL)),
        sentences=tuple(_sentence(rng) for _ in range(POOL)),
        people=people,
        references=tuple(_reference(rng, number) for number in range(POOL)),
    )


def _title(rng: random.Random) -> str:
    return f"{rng.choice(_SUBJECTS)} {rng.choice(_RELATIONS)} {rng.choice(_OBJECTS)}"


def _sentence(rng: random.Random) -> str:
    subject = rng.choice(_SUBJECTS).lower()
    return f"{rng.choice(_OPENINGS)} {subject} {rng.choice(_RELATIONS)} {rng.choice(_OBJECTS)} {rng.choice(_ENDINGS)}"


def _person(rng: random.Random) -> dict[str, object]:
    place = rng.choice(_PLACES)
    affiliation = [{"name": f"Department of Invention, University of {place}"}] if rng.random() < 0.6 else []
    person: dict[str, object] = {
        "affiliation": affiliation,
        "family": rng.choice(_FAMILY),
        "given": rng.choice(_GIVEN),
        "sequence": "additional",
    }
    if rng.random() < 0.3:
        person["ORCID"] = (
            f"http://orcid.org/0000-000{rng.randrange(4)}-{rng.randrange(10**4):04}-{rng.randrange(10**4):04}"
        )
    return person


def _reference(rng: random.Random, number: int) -> dict[str, str]:
    reference = {
        "author": rng.choice(_FAMILY),
        "first-page": str(rng.randrange(1, 900)),
        "journal-title": rng.choice(_JOURNALS),
        "key": f"ref-{number}",
        "volume": str(rng.randrange(1, 120)),
        "year": str(rng.randrange(1950, 2025)),
    }
    if rng.random() < 0.6:
        reference |= {"DOI": f"10.5555/ref.{rng.randrange(10**6)}", "doi-asserted-by": "publisher"}
    if rng.random() < 0.5:
        reference["article-title"] = _title(rng)
    return reference
