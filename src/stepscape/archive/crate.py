"""The description of an archive for machines: RO-Crate 1.2, JSON-LD in terms of schema.org."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from stepscape import __version__
from stepscape.archive.provenance import Checkout
from stepscape.study.spec import Study

NAME = "ro-crate-metadata.json"
_SPECIFICATION = "https://w3id.org/ro/crate/1.2"
_LICENSE = "Whoever publishes this archive states the terms; that of the software says nothing of results."


def crate(study: Study, checkout: Checkout, described: dict[str, tuple[str, str]], results: Collection[str]) -> bytes:
    """The metadata document of an archive.

    Args:
        study: the study.
        checkout: where the code comes from.
        described: path of a file, or of a folder with a slash at its end, to its media type and what it is.
        results: those of them that were made, all from the study's file.

    Returns:
        JSON-LD.
    """
    software = {"@id": "#stepscape"}
    (given,) = (path for path in described if path.endswith(f"/{study.name}.yaml"))
    graph: list[dict[str, Any]] = [
        {
            "@id": NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _SPECIFICATION},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": study.title,
            "description": study.question or study.title,
            "datePublished": checkout.date,
            "license": {"@id": "#license"},
            "citation": [{"@id": source} for source in _identified(study.sources)],
            "hasPart": [{"@id": path} for path in sorted(described)],
            "mentions": {"@id": "#sweep"},
        },
        {"@id": "#license", "@type": "CreativeWork", "name": "Terms not stated", "description": _LICENSE},
        {
            **software,
            "@type": "SoftwareApplication",
            "name": "Stepscape",
            "softwareVersion": f"{__version__}, commit {checkout.commit or 'unknown'}",
        },
        {
            "@id": "#sweep",
            "@type": "CreateAction",
            "name": f"The sweep of {study.name}: {len(study.runs)} runs trained, collected, judged and drawn",
            "instrument": software,
            "object": {"@id": given},
            "result": [{"@id": path} for path in sorted(results)],
        },
        *({"@id": source, "@type": "ScholarlyArticle", "name": source} for source in _identified(study.sources)),
        *(_part(path, *told) for path, told in sorted(described.items())),
    ]
    document = {"@context": f"{_SPECIFICATION}/context", "@graph": graph}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _identified(sources: Collection[str]) -> list[str]:
    """Sources as IRIs: `arXiv:2103.00065` has an address, other words become names in this document."""
    found = [
        f"https://arxiv.org/abs/{source[6:]}" if source.lower().startswith("arxiv:") else f"#{source.replace(' ', '-')}"
        for source in sources
    ]
    return sorted(set(found))


def _part(path: str, media_type: str, name: str) -> dict[str, Any]:
    if path.endswith("/"):
        return {"@id": path, "@type": "Dataset", "name": name}
    return {"@id": path, "@type": "File", "name": name, "encodingFormat": media_type}
