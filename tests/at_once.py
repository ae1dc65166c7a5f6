"""An executor without threads, for tests in virtual time."""

from concurrent.futures import Future, ThreadPoolExecutor


class AtOnce(ThreadPoolExecutor):
    """No threads: virtual time would pass while they work."""

    def submit(self, fn, /, *args, **named):
        done: Future[object] = Future()
        try:
            done.set_result(fn(*args, **named))
        except Exception as error:  # noqa: BLE001 - for whoever waits for it
            done.set_exception(error)
        return done
