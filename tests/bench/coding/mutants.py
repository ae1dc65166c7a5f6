# ruff: noqa: E501 - pieces of code, each in a line
"""Wrong solutions: the reference with a mistake that people and models make."""

Edit = tuple[str, str]
Mutant = tuple[str, *tuple[Edit, ...]]

QUEUE: list[Mutant] = [
    ("last in, first out", ("popleft()", "pop()")),
    ("the lock is forgotten in get", ("        with self._lock:\n            if not self._filled.wait_for(lambda: self._closed or self._items, timeout):\n                raise Empty\n", "        while not self._items:\n            time.sleep(0.01)\n        with self._lock:\n")),
    ("the item is read and removed later, without the lock",
     ("    def get(self, timeout=None):\n        with self._lock:\n            if not self._filled.wait_for(lambda: self._closed or self._items, timeout):\n                raise Empty\n            if not self._items:\n                raise Closed\n            item = self._items.popleft()\n            self._drained.notify()\n            return item\n",
      "    def get(self, timeout=None):\n        with self._lock:\n            if not self._filled.wait_for(lambda: self._closed or self._items, timeout):\n                raise Empty\n            if not self._items:\n                raise Closed\n            item = self._items[0]\n        time.sleep(0.0001)\n        with self._lock:\n            self._items.popleft()\n            self._drained.notify()\n            return item\n")),
    ("None is no item", ("            item = self._items.popleft()\n", "            item = self._items.popleft()\n            if item is None:\n                raise Empty\n")),
    ("length counts all that ever came", ("            return len(self._items)\n\n", "            return getattr(self, 'count', 0)\n\n"), ("self._items.append(item)\n", "self._items.append(item)\n            self.count = getattr(self, 'count', 0) + 1\n")),
    ("get never waits", ("lambda: self._closed or self._items, timeout", "lambda: self._closed or self._items, 0")),
    ("put never waits", ("lambda: self._closed or not self._is_full(), timeout", "lambda: self._closed or not self._is_full(), 0")),
    ("capacity is not kept", ("len(self._items) >= self._capacity", "False")),
    ("a capacity of nothing is taken", ("capacity < 1", "capacity < -5")),
    ("a put wakes nobody", ("            self._filled.notify()\n", "")),
    ("a get wakes nobody", ("            self._drained.notify()\n", "")),
    ("one condition for both sides", ("self._drained = threading.Condition(self._lock)", "self._drained = self._filled")),
    ("waits in circles", ("            if not self._filled.wait_for(lambda: self._closed or self._items, timeout):\n                raise Empty\n", "            end = None if timeout is None else time.monotonic() + timeout\n            while not (self._closed or self._items):\n                if end is not None and time.monotonic() >= end:\n                    raise Empty\n                self._lock.release()\n                self._lock.acquire()\n")),
    ("a wait without a loop", ("self._filled.wait_for(lambda: self._closed or self._items, timeout)", "(self._items or self._closed or self._filled.wait(timeout))")),
    ("close forgets what is there", ("            self._closed = True\n", "            self._closed = True\n            self._items.clear()\n")),
    ("close wakes one reader", ("self._filled.notify_all()", "self._filled.notify()")),
    ("close wakes one writer", ("self._drained.notify_all()", "self._drained.notify()")),
    ("a put after close is taken", ("            if self._closed:\n                raise Closed\n", "")),
]  # fmt: skip

RETRY: list[Mutant] = [
    ("no delay", ("        sleep(delay)\n", "")),
    ("a constant delay", ("factor**number", "1")),
    ("the first delay is already doubled", ("factor**number", "factor ** (number + 1)")),
    ("linear growth", ("base * factor**number", "base * (number + 1)")),
    ("no limit", ("delay = min(limit, base * factor**number)", "delay = base * factor**number")),
    ("an overflow is an error", ("except OverflowError:\n            delay = limit", "except MemoryError:\n            delay = limit")),
    ("one call too many", ("range(attempts)", "range(attempts + 1)"), ("attempts - 1:", "attempts:")),
    ("a delay after the last failure", ("            if number == attempts - 1:\n", "            if number == attempts - 1:\n                sleep(base)\n")),
    ("the exception is wrapped", ("                raise\n", "                raise RuntimeError('failed') from None\n")),
    ("the first exception is raised", ("    for number in range(attempts):", "    first = None\n    for number in range(attempts):"), ("        except retry_on:\n            if number == attempts - 1:\n                raise\n", "        except retry_on as error:\n            first = first or error\n            if number == attempts - 1:\n                raise first\n")),
    ("everything is retried", ("except retry_on:", "except BaseException:")),
    ("only Exception is retried, whatever was asked", ("except retry_on:", "except Exception:")),
    ("only the first kind is retried", ("except retry_on:", "except retry_on[0]:")),
    ("a false result is a failure", ("            return function()\n", "            result = function()\n            if result:\n                return result\n")),
    ("no jitter", ("        if jitter:\n", "        if False:\n")),
    ("jitter before the limit", ("delay = min(limit, base * factor**number)", "delay = min(limit, base * factor**number * (1 + jitter * random()))"), ("        if jitter:\n", "        if False:\n")),
    ("one share for all delays", ("    for number in range(attempts):", "    share = random()\n    for number in range(attempts):"), ("jitter * random()", "jitter * share")),
    ("random is always asked", ("        if jitter:\n            delay", "        if True:\n            delay")),
    ("nothing is checked", ("    if attempts < 1 or base < 0 or limit < 0 or jitter < 0:", "    if False:")),
    ("it sleeps before the first call", ("    for number in range(attempts):", "    sleep(0)\n    for number in range(attempts):")),
    ("it sleeps by itself", ("        sleep(delay)\n", "        time.sleep(0.001)\n")),
]  # fmt: skip

PRIORITY: list[Mutant] = [
    ("the smallest comes first", ("(-priority, order", "(priority, order")),
    ("equal ones come out last in, first out", ("(-priority, order, ticket)", "(-priority, -order, ticket)"), ("_, order, ticket = self._heap[0]", "_, order, ticket = self._heap[0]; order = -order")),
    ("equal ones are ordered by their items", ("(-priority, order, ticket))", "(-priority, Key(item), order, ticket))"), ("_, order, ticket = self._heap[0]", "_, _, order, ticket = self._heap[0]"), ("_, _, ticket = heapq.heappop", "_, _, _, ticket = heapq.heappop"), ("class PriorityQueue:", "def Key(item):\n    return item\n\n\nclass PriorityQueue:")),
    ("the default is one", ("item, priority=0)", "item, priority=1)")),
    ("an empty queue gives None", ('raise IndexError("empty")', "return None"), ("        item = self.peek()\n", "        item = self.peek()\n        if not self._heap:\n            return None\n")),
    ("peek removes", ("                return entry[2]\n", "                self.cancel(ticket) if not getattr(self, 'popping', 0) else 0\n                return entry[2]\n"), ("        item = self.peek()\n", "        self.popping = 1\n        item = self.peek()\n        self.popping = 0\n")),
    ("tickets are places", ("        ticket = next(self._tickets)\n", "        ticket = len(self._entries) + 1\n")),
    ("a ticket is the item's identity", ("        ticket = next(self._tickets)\n", "        ticket = id(item)\n")),
    ("cancel does nothing", ("self._entries.pop(ticket, None) is not None", "ticket in self._entries")),
    ("cancel always says yes", ("return self._entries.pop(ticket, None) is not None", "self._entries.pop(ticket, None)\n        return True")),
    ("change says yes for what is gone", ("        if entry is None:\n            return False\n", "        if entry is None:\n            return True\n")),
    ("change does nothing", ("            self._place(ticket, entry[2], priority)\n", "            pass\n")),
    ("change keeps the old place", ("            self._place(ticket, entry[2], priority)\n", "            self._entries[ticket] = (entry[0], priority, entry[2])\n            heapq.heappush(self._heap, (-priority, entry[0], ticket))\n")),
    ("a change to the same priority moves back", ("        if entry[1] != priority:\n", "        if True:\n")),
    ("length counts what was cancelled", ("return len(self._entries)", "return len(self._heap)")),
    ("what was cancelled is kept", ("return self._entries.pop(ticket, None) is not None", "self.kept = [*getattr(self, 'kept', []), self._entries.get(ticket)]\n        return self._entries.pop(ticket, None) is not None")),
    ("a sorted list instead of a heap", ("        heapq.heappush(self._heap, (-priority, order, ticket))", "        self._heap.append((-priority, order, ticket))\n        for place in range(len(self._heap) - 1, 0, -1):\n            if self._heap[place] < self._heap[place - 1]:\n                self._heap[place - 1 : place + 1] = self._heap[place], self._heap[place - 1]"), ("heapq.heappop(self._heap)", "self._heap.pop(0)")),
    ("pop looks through everything", ("        item = self.peek()\n", "        item = self.peek()\n        for entry in self._heap:\n            entry[0] < entry[1]\n")),
]  # fmt: skip

_LOCKED = "        with self._lock:\n"
_NO_LOCK = "        if True:\n"
RACE: list[Mutant] = [
    ("no lock at all", (_LOCKED, _NO_LOCK)),
    ("deposits without the lock", ("    def deposit(self, name, amount):\n" + _LOCKED, "    def deposit(self, name, amount):\n" + _NO_LOCK)),
    ("withdrawals without the lock", ("    def withdraw(self, name, amount):\n" + _LOCKED, "    def withdraw(self, name, amount):\n" + _NO_LOCK)),
    ("transfers without the lock", ("    def transfer(self, source, target, amount):\n" + _LOCKED, "    def transfer(self, source, target, amount):\n" + _NO_LOCK)),
    ("the total without the lock", ("    def total(self):\n" + _LOCKED, "    def total(self):\n" + _NO_LOCK)),
    ("check, then act, under two locks", ("            balance = self._store.get(name, 0)\n            if balance < amount:\n                return False\n            self._store[name] = balance - amount\n", "            if self._store.get(name, 0) < amount:\n                return False\n        with self._lock:\n            self._store[name] = self._store.get(name, 0) - amount\n")),
    ("locks of accounts, taken in the arguments' order", ("            balance = self._store.get(source, 0)\n            if balance < amount:\n                return False\n            if source == target:\n", "            one, two = (self.locks.setdefault(name, threading.Lock()) for name in (source, target))\n        with one, two:\n            balance = self._store.get(source, 0)\n            if balance < amount:\n                return False\n            if source == target:\n"), ("        self._lock = threading.Lock()\n", "        self._lock = threading.Lock()\n        self.locks = {}\n")),
    ("the lock is kept when a transfer is refused", ("    def transfer(self, source, target, amount):\n" + _LOCKED, "    def transfer(self, source, target, amount):\n        self._lock.acquire()\n" + _NO_LOCK), ("            if source == target:\n", "            self._lock.release()\n            if source == target:\n")),
    ("the lock is kept when the store fails", ("    def deposit(self, name, amount):\n" + _LOCKED + "            self._store[name] = self._store.get(name, 0) + amount\n", "    def deposit(self, name, amount):\n        self._lock.acquire()\n        self._store[name] = self._store.get(name, 0) + amount\n        self._lock.release()\n")),
    ("a failed transfer is not undone", ("                self._store[source] = balance\n                raise", "                raise")),
    ("a transfer to itself makes money", ("            if source == target:\n                return True\n            self._store[source] = balance - amount\n            try:\n                self._store[target] = self._store.get(target, 0) + amount", "            other = self._store.get(target, 0)\n            self._store[source] = balance - amount\n            try:\n                self._store[target] = other + amount")),
    ("an overdrawn account is allowed", ("            if balance < amount:\n                return False\n", "")),
    ("a refusal is None", ("                return False\n", "                return None\n")),
]  # fmt: skip

COMPOSE: list[Mutant] = [
    ("priorities are ignored", ("(tickets, job), priority)", "(tickets, job), 0)")),
    ("equal ones last in, first out", ("(tickets, job), priority)", "(tickets, job), priority + len(self._jobs) * 0.001)")),
    ("no retries", ("retry(job, attempts=self._attempts, base=self._base, sleep=self._sleep)", "job()")),
    ("other delays", ("base=self._base", "base=2 * self._base")),
    ("exceptions end the worker", ("except BaseException as error:", "except MemoryError as error:")),
    ("only Exception is caught", ("except BaseException as error:", "except Exception as error:")),
    ("an exit is tried again", ('                outcome = ("failed", error)', '                if not isinstance(error, Exception):\n                    try:\n                        job()\n                    except BaseException:\n                        pass\n                outcome = ("failed", error)')),
    ("the exception is a text", ('("failed", error)', '("failed", str(error))')),
    ("cancel does nothing", ("return self._jobs.cancel(ticket)", "return False")),
    ("cancel always says yes", ("            return self._jobs.cancel(ticket)", "            self._jobs.cancel(ticket)\n            return True")),
    ("one worker only", ("range(self._workers)", "range(1)")),
    ("a worker too many", ("range(self._workers)", "range(self._workers + 1)")),
    ("a thread for every job", ("range(self._workers)", "range(max(1, len(self._jobs)))")),
    ("jobs run under the lock", ("                self._running += 1\n", "                self._running += 1\n                done = job()\n"), ("retry(job, attempts", "retry(lambda: done, attempts")),
    ("workers leave when nothing waits", ("                    if not self._running:\n", "                    if True:\n")),
    ("an idle worker is not woken", ("            self._changed.notify()\n            return ticket", "            return ticket"), ("self._changed.wait()", "self._changed.wait()")),
    ("a job runs twice", ("            results.put(", "            if tickets[0] % 100 == 3:\n                job()\n            results.put(")),
    ("results sorted by ticket", ("            return found\n", "            return sorted(found, key=lambda one: one[0])\n")),
    ("results are kept for the next run", ("        results = Fifo()\n", "        results = Fifo()\n        for one in getattr(self, 'old', []):\n            results.put(one)\n"), ("            return found\n", "            self.old = found\n            return found\n")),
    ("the threads stay", ("        for thread in threads:\n            thread.join()\n", "        for thread in threads:\n            thread.join()\n        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n")),
    ("tickets start anew with each run", ("        results = Fifo()\n", "        results = Fifo()\n        fresh = Ranked() if not len(self._jobs) else self._jobs\n        self._jobs = fresh\n")),
    ("the value is lost", ("sleep=self._sleep))", "sleep=self._sleep) and None)")),
]  # fmt: skip

MUTANTS = {"queue": QUEUE, "retry": RETRY, "priority": PRIORITY, "race": RACE, "compose": COMPOSE}
