"""Bodies of requests."""

import asyncio

from starlette.requests import Request

from earmark.serve.uploads import parsed


def test_one_value_of_json_at_a_time_is_in_memory(wait_until):
    values, n_received = [], 0

    def use(value):
        values.append(value)
        wait_until(lambda: n_received == 3)
        return values.pop() == value and not values

    async def receive():
        nonlocal n_received
        n_received += 1
        return {"type": "http.request", "body": b"%d" % n_received}

    async def run():
        parsing = asyncio.Lock()
        requests = [Request({"type": "http", "method": "POST", "headers": []}, receive) for _ in range(3)]
        return await asyncio.gather(*(parsed(request, parsing, use) for request in requests))

    assert asyncio.run(run()) == [True, True, True]
