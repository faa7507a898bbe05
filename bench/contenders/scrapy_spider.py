"""A Scrapy spider with a JSON Lines feed and the settings its documents advise for one fast API."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from bench.contenders import url_of


class Records(scrapy.Spider):
    """Asks for each DOI of a list; `base_url` and `todo` are given to it as arguments."""

    name = "records"
    base_url: str
    todo: list[str]

    async def start(self) -> AsyncIterator[Any]:
        """All requests, made as they are needed."""
        for doi in self.todo:
            yield scrapy.Request(url_of(self.base_url, doi), dont_filter=True)

    def parse(self, response: Any) -> Any:
        """The record is the item."""
        return response.json()


if __name__ == "__main__":
    base_url, dois, output, concurrency = sys.argv[1:]
    process = CrawlerProcess(
        {
            "FEEDS": {output: {"format": "jsonlines"}},
            "CONCURRENT_REQUESTS": int(concurrency),
            "CONCURRENT_REQUESTS_PER_DOMAIN": int(concurrency),
            "DOWNLOAD_DELAY": 0,
            "ROBOTSTXT_OBEY": False,
            "COOKIES_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "LOG_LEVEL": "ERROR",
        }
    )
    process.crawl(Records, base_url=base_url, todo=Path(dois).read_text(encoding="utf-8").splitlines())
    process.start()
