"""
A client of SFSP: one connection (connection.py), several with retries (client.py), and files as chunks (files.py).
"""

from __future__ import annotations

from storehouse.clients.sfsp.client import SFSPClient
from storehouse.clients.sfsp.connection import ChunkReader, Connection
from storehouse.clients.sfsp.files import Incomplete, get_file, missing, put_file, resume_file, stream_file
from storehouse.clients.sfsp.ranges import Ranges

__all__ = [
    "ChunkReader",
    "Connection",
    "Incomplete",
    "Ranges",
    "SFSPClient",
    "get_file",
    "missing",
    "put_file",
    "resume_file",
    "stream_file",
]
