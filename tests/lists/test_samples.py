"""Real lists read as a person would read them. The figures were counted with other means (grep, the csv module)."""

from pathlib import Path
from typing import NamedTuple

import pytest

from harvester.core.errors import InputUnusable
from harvester.core.model import Blank, Failure, Work
from harvester.lists import ListOptions, read_list
from tests.folders import DATA, SHARED

SAMPLES = DATA / "lists"
WHOLE = SHARED / "data" / "lists"


class Counts(NamedTuple):
    """What a list holds: lines = works + duplicates + invalid + blank."""

    lines: int
    works: int
    duplicates: int = 0
    invalid: int = 0
    blank: int = 0
    first: int = 2
    with_urls: int = 0


def count(path: Path) -> Counts:
    column = "original_paper_doi" if "fix_dois_added" in path.name else None
    items = list(read_list([str(path)], ListOptions(doi_column=column), warn=lambda _: None, now=""))
    works = [item for item in items if isinstance(item, Work)]
    distinct = len({work.doi for work in works})
    return Counts(
        len(items),
        distinct,
        len(works) - distinct,
        sum(isinstance(item, Failure) for item in items),
        sum(isinstance(item, Blank) for item in items),
        int(works[0].origin.rpartition(":")[2]),
        sum(bool(work.urls) for work in works),
    )


IN_SAMPLES = {
    "Changhong-YU__Tools-for-Jstor__savedrecs.txt": Counts(2, 2, first=3),
    "JabRef__jabref__tiny-LE-withBOM.bib": Counts(1, 1, first=5),
    "OpenAPC__openapc-de__2017_2018_OpenAPC_BernUniversityofAppliedSciences.csv": Counts(13, 13, with_urls=9),
    "OpenAPC__openapc-de__20220912_OpenAPC_Donnees_Pasteur.csv": Counts(4, 4),
    "OpenAPC__openapc-de__OPEN_APC_2019.csv": Counts(35, 35),
    "OpenAPC__openapc-de__books.csv": Counts(4, 4),
    "OpenAPC__openapc-de__openapc-IUPUI-20180719.csv": Counts(2, 2),
    "SChamberlain__isqaltms__dois.csv": Counts(24, 24),
    "SensorNet-UFAL__slrqqanalysis__articles35.bib": Counts(3, 2, blank=1),
    "caltechlibrary__ezid_update__doi_list.txt": Counts(47, 47, first=1),
    "dhicks__get_publisher__scopus.csv": Counts(3, 3),
    "egonw__cv__abstracts_dois.txt": Counts(16, 10, blank=6, first=3),
    "ekmaloney__retraction__fix_dois_added.csv": Counts(3, 3),
    "ezpaarse-project__ezunpaywall__DOI.json": Counts(4, 4, first=1),
    "ezpaarse-project__ezunpaywall__example.jsonl": Counts(4, 4, first=1),
    "oeg-upm__DOI-Extractor-OEG__dois.txt": Counts(8, 6, invalid=2, first=1),
    "opencitations__coronavirus__dois.csv": Counts(3, 3, first=1),
    "ourresearch__oadoi__all_dois_SAMPLE.csv": Counts(8, 4, invalid=4, first=3),
    "ourresearch__oadoi__melb.txt": Counts(105, 99, duplicates=6, first=1),
    "poppy-nicolette__scite_citations__dois.csv": Counts(19, 16, blank=3),
    "tdbowman__openAlt_W2021__uploadDOI_template.csv": Counts(20, 17, invalid=3, first=1),
    "trilobiet__oapenmemoharvester__test.kbart": Counts(10, 9, blank=1, with_urls=9),
    "trilobiet__oapenmemoharvester__test.ris": Counts(2, 2, with_urls=2),
}

IN_WHOLE = {
    "Changhong-YU__Tools-for-Jstor__savedrecs.txt": Counts(32, 32, first=3),
    "JabRef__jabref__tiny-LE-withBOM.bib": Counts(1, 1, first=5),
    "OpenAPC__openapc-de__2017_2018_OpenAPC_BernUniversityofAppliedSciences.csv": Counts(13, 13, with_urls=9),
    "OpenAPC__openapc-de__20220912_OpenAPC_Donnees_Pasteur.csv": Counts(241, 241),
    "OpenAPC__openapc-de__OPEN_APC_2019.csv": Counts(35, 35),
    "OpenAPC__openapc-de__books.csv": Counts(53, 53),
    "OpenAPC__openapc-de__openapc-IUPUI-20180719.csv": Counts(119, 118, duplicates=1),
    "SChamberlain__isqaltms__dois.csv": Counts(900, 900),
    "SensorNet-UFAL__slrqqanalysis__articles35.bib": Counts(35, 23, blank=12),
    "altmetric__identifiers__dois.txt": Counts(999, 999, first=1),
    "caltechlibrary__ezid_update__doi_list.txt": Counts(47, 47, first=1),
    "dhicks__get_publisher__scopus.csv": Counts(20, 18, blank=2),
    "egonw__cv__abstracts_dois.txt": Counts(16, 10, blank=6, first=3),
    "egonw__cv__dois.txt": Counts(114, 114, first=1),
    "ekmaloney__retraction__fix_dois_added.csv": Counts(168, 37, invalid=3, blank=128),
    "ezpaarse-project__ezunpaywall__DOI.json": Counts(2308, 2308, first=1),
    "ezpaarse-project__ezunpaywall__example.csv": Counts(1010, 1010),
    "ezpaarse-project__ezunpaywall__example.jsonl": Counts(1025, 1025, first=1),
    "oeg-upm__DOI-Extractor-OEG__dois.txt": Counts(449, 354, duplicates=21, invalid=74, first=1),
    "opencitations__coronavirus__dois.csv": Counts(11842, 11842, first=1),
    "ourresearch__oadoi__all_dois_SAMPLE.csv": Counts(44, 20, invalid=24, first=3),
    "ourresearch__oadoi__melb.txt": Counts(105, 99, duplicates=6, first=1),
    "poppy-nicolette__scite_citations__dois.csv": Counts(19, 16, blank=3),
    "tdbowman__openAlt_W2021__uploadDOI_template.csv": Counts(20, 17, invalid=3, first=1),
    "trilobiet__oapenmemoharvester__test.kbart": Counts(24, 22, blank=2, with_urls=22),
    "trilobiet__oapenmemoharvester__test.ris": Counts(6, 6, with_urls=6),
}


@pytest.mark.parametrize("name", IN_SAMPLES)
def test_a_sample_reads_as_a_person_would_read_it(name: str) -> None:
    assert count(SAMPLES / name) == IN_SAMPLES[name]


@pytest.mark.skipif(not WHOLE.is_dir(), reason="the whole lists are not beside this checkout")
@pytest.mark.parametrize("name", IN_WHOLE)
def test_a_whole_list_reads_as_a_person_would_read_it(name: str) -> None:
    assert count(WHOLE / name) == IN_WHOLE[name]


def test_every_sample_is_read_by_a_test() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == {*IN_SAMPLES, "README.md"}


def test_a_sample_with_four_doi_columns_asks_which() -> None:
    path = SAMPLES / "ekmaloney__retraction__fix_dois_added.csv"
    with pytest.raises(InputUnusable, match=r"old_doi, retraction_doi, original_paper_doi.*--doi-column"):
        list(read_list([str(path)], ListOptions(), warn=lambda _: None, now=""))
