"""Events and their listeners."""

from twisted.trial.unittest import TestCase

from storehouse.events import Events, StoreFailed


class EventsTests(TestCase):
    """L{Events}."""

    def test_told_in_order(self) -> None:
        """Listeners of an event's class are called in the order in which they asked."""
        events, told = Events(), []
        events.subscribe(StoreFailed, lambda event: told.append((1, event)))
        events.subscribe(StoreFailed, lambda event: told.append((2, event)))
        event = StoreFailed("log", OSError())
        events.publish(event)
        self.assertEqual(told, [(1, event), (2, event)])

    def test_unsubscribe(self) -> None:
        """A listener that has unsubscribed is not called; unsubscribing twice is fine."""
        events, told = Events(), []
        stop = events.subscribe(StoreFailed, told.append)
        stop()
        stop()
        events.publish(StoreFailed("log", OSError()))
        self.assertEqual(told, [])

    def test_other_kinds(self) -> None:
        """Events that nobody asked for are fine."""
        Events().publish(object())

    def test_failing_listener(self) -> None:
        """A listener that fails is logged, and the others are called."""
        events, told = Events(), []

        def fail(event: StoreFailed) -> None:
            raise ZeroDivisionError

        events.subscribe(StoreFailed, fail)
        events.subscribe(StoreFailed, told.append)
        events.publish(StoreFailed("log", OSError()))
        self.assertEqual(len(told), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_some_of_a_kind(self) -> None:
        """A listener can ask for the events of a class whose fields have some values."""
        events, told = Events(), []
        events.subscribe(StoreFailed, told.append, store="log")
        error = OSError()
        events.publish(StoreFailed("objects", error))
        events.publish(StoreFailed("log", error))
        self.assertEqual(told, [StoreFailed("log", error)])
