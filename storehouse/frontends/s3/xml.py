"""The XML of S3's documents, which clients write and read as well: see L{storehouse.core.xmltext}."""

from __future__ import annotations

from storehouse.core.xmltext import DECLARATION as DECLARATION
from storehouse.core.xmltext import NAMESPACE as NAMESPACE
from storehouse.core.xmltext import XML as XML
from storehouse.core.xmltext import Node as Node
from storehouse.core.xmltext import NotXML as NotXML
from storehouse.core.xmltext import document as document
from storehouse.core.xmltext import document_in_turns as document_in_turns
from storehouse.core.xmltext import element as element
from storehouse.core.xmltext import parse as parse
from storehouse.core.xmltext import parse_in_turns as parse_in_turns
from storehouse.core.xmltext import text as text
