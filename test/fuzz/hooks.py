"""What the fuzzer has to know of the API beyond its OpenAPI document: the formats of its texts (src/text.ts)."""

import unicodedata

import schemathesis
from hypothesis import strategies as st

unbroken = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1)


def is_visible(text):
    return any(unicodedata.category(one)[0] != "Z" and unicodedata.category(one) != "Cf" for one in text)


schemathesis.openapi.format("unbroken-text", unbroken)
schemathesis.openapi.format("visible-text", unbroken.filter(is_visible))
