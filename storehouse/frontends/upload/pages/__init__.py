"""
The pages of the upload door, as HTML that works without scripts.

Each function gives a L{Reply<storehouse.frontends.http.reply.Reply>} with the header fields that keep a page safe.
"""

from storehouse.frontends.upload.pages.errors import error
from storehouse.frontends.upload.pages.frame import POLICY
from storehouse.frontends.upload.pages.listing import ListedFile, ListingPage, listing, listing_rows
from storehouse.frontends.upload.pages.made import link_made
from storehouse.frontends.upload.pages.signing import sign_in, sign_in_token
from storehouse.frontends.upload.pages.stats import Figure, StatsPage, TransferRow, stats
from storehouse.frontends.upload.pages.stored import StoredFile, stored
from storehouse.frontends.upload.pages.upload import upload

__all__ = [
    "POLICY",
    "Figure",
    "ListedFile",
    "ListingPage",
    "StatsPage",
    "StoredFile",
    "TransferRow",
    "error",
    "link_made",
    "listing",
    "listing_rows",
    "sign_in",
    "sign_in_token",
    "stats",
    "stored",
    "upload",
]
