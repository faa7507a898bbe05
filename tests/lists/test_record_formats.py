"""Formats of databases, libraries and reference managers: each work is read, each line is accounted for."""

import io
import json
from typing import Any

import pytest

from harvester.core.errors import InputUnusable
from harvester.core.model import Blank, Failure, Work
from harvester.lists import ListOptions, read_list
from harvester.lists.sniff import sniff_format


def items(text: str | bytes, **options: Any) -> list[Work | Failure | Blank]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_list(["-"], ListOptions(**options), warn=lambda _: None, now="", stdin=io.BytesIO(data)))


def told(text: str | bytes, **options: Any) -> list[str]:
    """Each item as a word: its DOI, `invalid` or `blank`."""
    return [
        item.doi if isinstance(item, Work) else "invalid" if isinstance(item, Failure) else "blank"
        for item in items(text, **options)
    ]


def urls(text: str) -> list[tuple[str, ...]]:
    return [item.urls for item in items(text) if isinstance(item, Work)]


NBIB = """\

PMID- 1
OWN - NLM
TI  - First work with a title that
      goes on: 10.5555/no.
LID - 10.5555/a [doi]
LID - e12 [pii]
SO  - J Tests. 2020;1(2):3-4. doi: 10.5555/other.

PMID- 2
AID - S0000(20)1 [pii]
AID - 10.5555/b [doi]

PMID- 3
SO  - J Tests. 2020;1(2):3-4. doi: 10.5555/c. Epub 2020.

PMID- 4
TI  - Without.
"""

ENW = """\
%0 Journal Article
%T First
%R 10.5555/a
%U https://press.example/1

%0 Book
%T Second
%U https://doi.org/10.5555/b

%0 Book
%T Third
"""

MRK = """\
=LDR  01234nam a2200289 a 4500
=024  7\\$a10.5555/a$2doi
=024  3\\$a9780000000000
=856  40$uhttps://press.example/1

=LDR  01234nam a2200289 a 4500
=024  7\\$ahdl:1/2$2hdl
=856  40$uhttps://press.example/2
"""

ENDNOTE = """\
<?xml version="1.0" encoding="UTF-8"?>
<xml><records><record><titles><title><style>First &amp; last</style></title></titles>
<urls><web-urls><url>https://press.example/1</url></web-urls></urls>
<electronic-resource-num><style face="normal">10.5555/</style><style>a</style></electronic-resource-num></record>
<record><rec-number>2</rec-number></record></records></xml>
"""

PUBMED = """\
<?xml version="1.0" ?>
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle//EN" "https://dtd.example/pubmed.dtd">
<PubmedArticleSet><PubmedArticle><MedlineCitation><Article><ELocationID EIdType="pii">x</ELocationID>
<ELocationID EIdType="doi">10.5555/a</ELocationID></Article></MedlineCitation>
<PubmedData><ArticleIdList><ArticleId IdType="pubmed">1</ArticleId><ArticleId IdType="doi">10.5555/a</ArticleId>
</ArticleIdList><ReferenceList><Reference><ArticleIdList><ArticleId IdType="doi">10.5555/cited</ArticleId>
</ArticleIdList></Reference></ReferenceList></PubmedData></PubmedArticle></PubmedArticleSet>
"""

MARCXML = """\
<collection xmlns="http://www.loc.gov/MARC21/slim"><record><datafield tag="024" ind1="7"><subfield code="a">10.5555/a
</subfield><subfield code="2">doi</subfield></datafield><datafield tag="856"><subfield code="u">https://press.example/1
</subfield></datafield></record></collection>
"""

ONIX = """\
<ONIXMessage release="3.0"><Product><ProductIdentifier><ProductIDType>15</ProductIDType><IDValue>9780000000000</IDValue>
</ProductIdentifier><ProductIdentifier><ProductIDType>06</ProductIDType><IDValue>10.5555/a</IDValue></ProductIdentifier>
<RelatedMaterial><RelatedWork><ProductIdentifier><ProductIDType>06</ProductIDType><IDValue>10.5555/related</IDValue>
</ProductIdentifier></RelatedWork></RelatedMaterial></Product></ONIXMessage>
"""

RDF = """\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:bib="http://purl.org/net/biblio#"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><bib:Book rdf:about="#item_1"><dc:identifier>DOI 10.5555/a</dc:identifier>
<dc:identifier>ISBN 978-0-00-000000-0</dc:identifier></bib:Book><bib:Memo rdf:about="#item_2"/></rdf:RDF>
"""


@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        ("nbib", NBIB, ["10.5555/a", "10.5555/b", "10.5555/c", "blank"]),
        ("enw", ENW, ["10.5555/a", "10.5555/b", "blank"]),
        ("mrk", MRK, ["10.5555/a", "blank"]),
        ("xml", ENDNOTE, ["10.5555/a", "blank"]),
        ("xml", PUBMED, ["10.5555/a"]),
        ("xml", MARCXML, ["10.5555/a"]),
        ("xml", ONIX, ["10.5555/a"]),
        ("xml", RDF, ["10.5555/a", "blank"]),
    ],
    ids=["nbib", "enw", "mrk", "EndNote", "PubMed", "MARCXML", "ONIX", "Zotero RDF"],
)
def test_a_format_is_known_by_its_content_and_each_work_is_read(form: str, text: str, found: list[str]) -> None:
    assert sniff_format("list.txt", text.splitlines()) == form
    assert told(text) == found


@pytest.mark.parametrize("text", [ENW, MRK, ENDNOTE, MARCXML], ids=["enw", "mrk", "EndNote", "MARCXML"])
def test_the_address_of_a_work_is_read_with_it(text: str) -> None:
    assert urls(text)[0] == ("https://press.example/1",)


# RIS as it is met


@pytest.mark.parametrize("field", ["M3  - doi:10.5555/a", "N1  - DOI: 10.5555/a", "ID  - 10.5555/a", "L3  - 10.5555/a"])
def test_a_doi_in_another_field_of_ris_is_taken_if_the_field_is_nothing_else(field: str) -> None:
    assert told(f"TY  - JOUR\n{field}\nER  - \n") == ["10.5555/a"]
    assert told(f"TY  - JOUR\n{field} and more words\nER  - \n") == ["blank"]
    assert told(f"TY  - JOUR\n{field}\nDO  - 10.5555/b\nER  - \n") == ["10.5555/b"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("C1  - 1\nDO  - 10.5555/a\nER  - \n\nC1  - 2\nTI  - x\nER  - \n", ["10.5555/a", "blank"]),
        ("  TY  - JOUR\n  DO  - 10.5555/a\n  ER  - \n", ["10.5555/a"]),
        ("ty  - JOUR\ndo  - 10.5555/a\ner  - \n", ["10.5555/a"]),
        ("TY- JOUR\nDO- 10.5555/a\nER- \n", ["10.5555/a"]),
        ("ID  - 1\nTY  - JOUR\nDO  - 10.5555/a\nER  - \n", ["10.5555/a"]),
        ("TY  - JOUR\nDO  - 10.5555/a\nDO  - 10.5555/b\nER  - \n", ["10.5555/a", "10.5555/b"]),
        ("TY  - X\nDO  - 10.5555/a\nER  - \nDO  - 10.5555/b\nTY  - X\nER  - \n", ["10.5555/a", "10.5555/b", "blank"]),
        ("TY  - JOUR\nTI  - x\nTY  - JOUR\nDO  - 10.5555/a\n", ["blank", "10.5555/a"]),
        ("Provider: x\nSee 10.5555/b\nTY  - JOUR\nDO  - 10.5555/a\nER  - \n", ["blank", "invalid", "10.5555/a"]),
    ],
)  # fmt: skip
def test_every_line_of_a_sloppy_ris_file_is_accounted_for(text: str, found: list[str]) -> None:
    assert told(text, format="ris") == found


# BibTeX as it is met


def test_a_missing_comma_before_the_doi_is_told() -> None:
    text = "@article{a1,\n title = {First}\n doi = {10.5555/a}\n}\n@article{a2,\n doi = {10.5555/b}\n}\n"
    (failure, work) = items(text)
    assert isinstance(failure, Failure)
    assert "a comma is missing before doi" in failure.message
    assert isinstance(work, Work)


def test_what_stands_between_the_entries_is_told_if_a_doi_may_be_in_it() -> None:
    assert told("some words\n10.5555/a, as well\n@book{b, doi = {10.5555/b}}\n", format="bibtex") == [
        "invalid",
        "10.5555/b",
    ]


# JSON of services


def doc(value: object) -> str:
    return json.dumps(value)


OPERAS = {
    "status": "ok",
    "data": [
        {"UUID": "u1", "URI": [{"URI": "info:doi:10.5555/a", "canonical": True}, {"URI": "https://press.example/1"}]}
    ],
}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"results": [{"doi": "https://doi.org/10.5555/a"}], "group_by": []}, ["10.5555/a"]),
        ({"data": [{"attributes": {"doi": "10.5555/a"}}], "included": [{"id": "x"}], "meta": {"y": []}}, ["10.5555/a"]),
        ({"message": {"items": [{"DOI": "10.5555/a"}], "facets": {}}}, ["10.5555/a"]),
        ({"hits": {"total": 1, "hits": [{"doi": "10.5555/a"}]}}, ["10.5555/a"]),
        ({"response": {"docs": [{"doiId_s": "10.5555/a"}, {"title_s": ["x"]}]}}, ["10.5555/a", "blank"]),
        ({"search-results": {"entry": [{"prism:doi": "10.5555/a"}]}}, ["10.5555/a"]),
        ([{"external_ids": [{"type": "x", "value": "1"}, {"type": "doi", "value": "10.5555/a"}]}], ["10.5555/a"]),
        ([{"data": {"DOI": "10.5555/a"}}, {"data": {"extra": "\nDOI: 10.5555/b"}}], ["10.5555/a", "10.5555/b"]),
        ([{"doi": ["10.5555/a", "10.5555/b"]}, {"dois": ["10.5555/c"]}], ["10.5555/a", "10.5555/b", "10.5555/c"]),
        ({"doi": ["10.5555/a", "10.5555/b"], "title": ["A", "B"]}, ["10.5555/a", "10.5555/b"]),
        ({"doi": {"0": "10.5555/a", "1": None}, "title": {"0": "A", "1": "B"}}, ["10.5555/a", "blank"]),
        ([{"raw": "10.5555/a", "urls": [], "last_checked": None}], ["10.5555/a"]),
        ([{"Item_ID": [{"Type": "DOI", "Value": "10.5555/a"}]}], ["10.5555/a"]),
        ([{"Item_ID": {"DOI": "10.5555/b"}}], ["10.5555/b"]),
        (OPERAS, ["10.5555/a"]),
    ],
)  # fmt: skip
def test_the_json_of_a_service_is_read_as_it_comes(value: object, found: list[str]) -> None:
    assert told(doc(value)) == found


def test_the_addresses_beside_the_doi_of_operas_own_list_are_read() -> None:
    assert urls(doc(OPERAS)) == [("https://press.example/1",)]


def test_of_several_lists_with_dois_the_user_says_which() -> None:
    text = doc({"ours": {"w": [{"doi": "10.5555/a"}]}, "cited": {"w": [{"doi": "10.5555/b"}]}})
    with pytest.raises(InputUnusable, match=r"several lists in it \(ours\.w, cited\.w\).*--doi-column"):
        told(text)
    assert told(text, doi_column="ours.w.doi") == ["10.5555/a"]
    assert told(doc([{"x": {"y": "10.5555/a"}}]), doi_column="x.y") == ["10.5555/a"]


def test_a_path_leads_through_a_document_of_any_size() -> None:
    large = {"facets": [1], "ours": {"w": [{"doi": f"10.5555/{n}", "t": "x" * 200} for n in range(6_000)]}, "late": [2]}
    assert told(doc(large), doi_column="ours.w.doi")[:2] == ["10.5555/0", "10.5555/1"]


def test_nan_and_infinity_are_nothing_wherever_they_stand() -> None:
    assert told('[{"doi": "10.5555/a", "n": NaN}, {"doi": NaN}, {"doi": "10.5555/b", "x": [-Infinity]}]') == [
        "10.5555/a",
        "blank",
        "10.5555/b",
    ]
    assert told('{"doi":"10.5555/a","n":NaN}\n{"doi":Infinity}\n') == ["10.5555/a", "blank"]
    assert told('[{"doi": "10.5555/a", "n": nan}]\n', format="jsonl") == ["invalid"]


@pytest.mark.parametrize("name", ["list.json", "list.jsonl", "list.txt"])
@pytest.mark.parametrize(
    "text",
    [
        '[{"doi":"10.5555/a"},{"doi":"10.5555/b"}]',
        '"10.5555/a"\n"10.5555/b"\n',
        '{\n "doi": "10.5555/a"\n}\n{\n "doi": "10.5555/b"\n}\n',
        '{"doi": "10.5555/a"}\n{"doi": "10.5555/b"}\n',
    ],
)
def test_json_is_read_by_its_content_whatever_the_file_is_called(name: str, text: str) -> None:
    form = sniff_format(name, text.splitlines())
    assert told(text, format=form) == ["10.5555/a", "10.5555/b"]


# Text and pages

PAGE = """\
<!DOCTYPE html><html><body><table>
<tr><td><a href="https://doi.org/10.5555/a%3C1::b%3E2?utm_source=x">10.5555/a&lt;1::b&gt;2</a></td></tr>
<tr><td>See (doi:10.5555/c(1)), 10.5555/d. And <b>10.5555/e</b>; not 210.5555/no.</td></tr>
</table>
"""


@pytest.mark.parametrize("name", ["page.html", "list.xls", "list.csv"])
def test_a_page_is_named_for_what_it_is(name: str) -> None:
    assert sniff_format(name, PAGE.splitlines()) == "html"
    with pytest.raises(InputUnusable, match=r"an HTML page and no list.*login page.*--extract"):
        told(PAGE)


def test_dois_are_taken_out_of_any_text_if_that_is_asked_for() -> None:
    assert told(PAGE, extract=True) == [
        "blank",
        "10.5555/a<1::b>2",
        "10.5555/c(1)",
        "10.5555/d",
        "10.5555/e",
        "blank",
    ]


# XML that is not as it should be


def test_xml_that_declares_entities_is_refused() -> None:
    text = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaa">]>\n<records><record>&a;</record></records>'
    with pytest.raises(InputUnusable, match="it declares entities"):
        told(text)


def test_the_works_before_a_break_in_xml_are_kept_and_the_rest_is_told() -> None:
    text = ENDNOTE.replace("</records></xml>", "<record><a></record>")
    *kept, rest = items(text)
    assert [item.doi for item in kept if isinstance(item, Work)] == ["10.5555/a"]
    assert isinstance(rest, Failure)
    assert "the XML cannot be read from here on (mismatched tag" in rest.message


def test_xml_of_another_kind_is_told() -> None:
    with pytest.raises(InputUnusable, match=r"XML without any works that harvester knows\. It knows those of EndNote"):
        told("<?xml version='1.0'?><svg><g/></svg>")


@pytest.mark.parametrize("inner", ["<a>" * 2_000, "<a b='" + "x" * (5 << 20)])
def test_xml_that_would_take_memory_without_end_is_refused(inner: str) -> None:
    with pytest.raises(InputUnusable, match=r"nested more than 1,000 deep|a tag of more than 4 MiB"):
        told(f"<?xml version='1.0'?><records>{inner}")


def test_xml_in_another_encoding_is_read() -> None:
    text = ENDNOTE.replace("UTF-8", "ISO-8859-1").replace("a</style>", "é</style>")
    assert told(text.encode("latin-1"))[0] == "10.5555/é"
    assert told(b"\xff\xfe" + ENDNOTE.replace("UTF-8", "UTF-16").encode("utf-16-le"))[0] == "10.5555/a"
