"""What storehouse adds to twistd: C{twistd storehouse}, and C{twistd --reactor=storehouse}."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

storehouse = ServiceMaker(
    "storehouse",
    "storehouse.app.tap",
    "Takes in bytes, keeps them safely and gives them back fast: an append log over HTTP.",
    "storehouse",
)

storehouse_reactor = Reactor(
    "storehouse",
    "storehouse.core.fast.reactor",
    "The epoll reactor with a shorter way for small requests, made for storehouse (Linux).",
)
